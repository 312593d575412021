"""An unmodified nats-py client under load: publishes, with headers too, asks, answers, stores, fetches and acknowledges."""

import asyncio
import json
import sys

import nats


async def main(url: str, user: str, password: str, name: str, bulk: int) -> None:
    client = await nats.connect(url, user=user, password=password, name=name, allow_reconnect=False)
    heard = asyncio.Event()
    counted = {"heard": 0, "answered": 0}

    async def listen(_message) -> None:
        counted["heard"] += 1
        if counted["heard"] == bulk:
            heard.set()

    async def answer(message) -> None:
        counted["answered"] += 1
        await message.respond(message.data)

    await client.subscribe("load.python.>", cb=listen)
    await client.subscribe("svc.python", queue="workers", cb=answer)
    await client.flush()
    for number in range(bulk):
        headers = {"Number": str(number)} if number % 2 else None
        await client.publish(f"load.python.{number % 10}", b"x" * (number % 200), headers=headers)
        if number % 1000 == 999:
            await client.flush(timeout=60)
    await asyncio.wait_for(heard.wait(), 60)
    for _ in range(500):
        await client.request("svc.python", b"?", timeout=30)
    stream = client.jetstream()
    for _ in range(500):
        await stream.publish("event.python", b"stored", timeout=30)
    pull = await stream.pull_subscribe_bind("python", "PYTHON")
    fetched = 0
    while fetched < 500:
        for message in await pull.fetch(100, timeout=30):
            await message.ack_sync(timeout=30)
            fetched += 1
    await client.drain()
    print(json.dumps({**counted, "fetched": fetched, "stats": client.stats}))


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])))
