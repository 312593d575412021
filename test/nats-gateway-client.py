"""An unmodified nats-py client: publishes, subscribes, asks, answers, stores and fetches through a gateway."""

import asyncio
import json
import sys

import nats
from nats.js.api import ConsumerConfig


async def main(url: str, token: str) -> None:
    told = []
    heard = asyncio.Event()

    async def on_error(error: Exception) -> None:
        told.append(str(error))
        heard.set()

    client = await nats.connect(url, token=token, name="py", error_cb=on_error, allow_reconnect=False)
    got = asyncio.Queue()

    async def keep(message) -> None:
        await got.put([message.subject, message.data.decode(), (message.headers or {}).get("Job-Header", "")])

    await client.subscribe("build.>", cb=keep)
    await client.publish("build.plain", b"one")
    await client.publish("build.header", b"two", headers={"Job-Header": "kept"})
    received = [await asyncio.wait_for(got.get(), 5) for _ in range(2)]

    async def answer(message) -> None:
        await message.respond(message.data + b"!")

    await client.subscribe("svc.echo", queue="workers", cb=answer)
    reply = await client.request("svc.echo", b"hello", timeout=5)
    old_reply = await client.request("svc.echo", b"old", timeout=5, old_style=True)

    js = client.jetstream()
    stored = await js.publish("event.one", b"stored")
    pull = await js.pull_subscribe_bind("puller", "EVENTS")
    [fetched] = await pull.fetch(1, timeout=5)
    await fetched.ack_sync(timeout=5)

    await client.publish("no.right", b"x")
    await client.flush()
    await asyncio.wait_for(heard.wait(), 5)  # its callbacks run when it finds the time
    print(
        json.dumps(
            {
                "received": received,
                "reply": reply.data.decode(),
                "old_reply": old_reply.data.decode(),
                "seq": stored.seq,
                "fetched": fetched.data.decode(),
                "told": told,
                "connected": client.is_connected,
            }
        )
    )
    await client.close()


asyncio.run(main(sys.argv[1], sys.argv[2]))
