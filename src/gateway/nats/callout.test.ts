import { randomBytes } from "node:crypto";
import fc from "fast-check";
import { beforeAll, describe, expect, test, vi } from "vitest";
import { WayleaveError } from "../../core/errors.ts";
import type { NatsKeys } from "../../credential/nats-keys.ts";
import { createNkey } from "../../credential/nats-nkey.ts";
import { type AskedAs, fakeGrant, fakeNatsKeys, fakeNatsServer, fakeNow } from "./callout.fake.ts";
import { type CalloutAnswer, type CalloutOptions, type CalloutRefusal, createCallout } from "./callout.ts";
import { mintTicket, type Ticket } from "./ticket.ts";

let keys: NatsKeys;
beforeAll(async () => {
  keys = await fakeNatsKeys();
});

const ticketKey = randomBytes(32);

function world(more: Partial<CalloutOptions> = {}, mode: "operator" | "config" = "operator") {
  const server = fakeNatsServer(keys, mode);
  const refusals: CalloutRefusal[] = [];
  const callout = createCallout({
    keys: server.keys,
    ticketKey,
    now: () => fakeNow,
    grantOf: () => fakeGrant,
    onRefused: (refusal) => refusals.push(refusal),
    ...more,
  });
  let connections = 0;
  const ticket = (more: Partial<Ticket> = {}) => {
    const connection = `nc_${++connections}`;
    const words = { connection, session: "ses_1", target: "events", serverId: server.serverId, cid: 7 };
    return mintTicket(ticketKey, { ...words, expiresAt: fakeNow + 5_000, ...more });
  };
  const ask = (secret: object, as: AskedAs & { cid?: number; peer?: string | undefined } = {}) => {
    const peer = "peer" in as ? as.peer : server.xkey;
    return callout(server.ask(secret, as.cid ?? 7, as), peer) as CalloutAnswer;
  };
  return { server, refusals, callout, ticket, ask };
}

function bytesOf(answer: CalloutAnswer): Uint8Array {
  if (answer.kind === "dropped") throw new Error(`dropped: ${answer.reason}`);
  return answer.bytes;
}

describe("a live ticket on its own connection", () => {
  test("operator mode: the user is the account's, signed by its signing key, and AUTH answers", () => {
    const { server, ask, ticket, refusals } = world();
    const answer = ask({ auth_token: ticket() });
    expect(answer.kind).toBe("admitted");
    const read = server.read(bytesOf(answer));
    expect(read.answer).toMatchObject({ iss: keys.auth.account.publicKey, sub: server.user, aud: server.serverId });
    expect(read.user).toMatchObject({
      iss: keys.find("CI")?.current.publicKey,
      sub: server.user,
      name: fakeGrant.name,
      exp: fakeGrant.expiresAt / 1000,
      nats: {
        issuer_account: keys.find("CI")?.publicKey,
        proxy_required: true,
        allowed_connection_types: ["STANDARD"],
      },
    });
    expect(read.user).not.toHaveProperty("aud");
    expect(refusals).toEqual([]);
  });

  test("config mode: the issuer signs both, and the audience is the account", () => {
    const { server, ask, ticket } = world({}, "config");
    const { answer, user } = server.read(bytesOf(ask({ auth_token: ticket() })));
    expect([answer.iss, user?.iss, user?.aud]).toEqual([keys.issuer.publicKey, keys.issuer.publicKey, "CI"]);
    expect(user?.nats).not.toHaveProperty("issuer_account");
  });

  test("the client's own words change nothing of who it is", () => {
    const { server, ask, ticket } = world();
    const options = { user: "boss", name: "boss", nkey: server.user, jwt: "x.y.z" };
    const { user } = server.read(
      bytesOf(ask({ auth_token: ticket() }, { options, info: { user: "boss", name: "boss" } })),
    );
    expect([user?.name, user?.nats.type]).toEqual([fakeGrant.name, "user"]);
    expect(JSON.stringify(user)).not.toContain("boss");
  });
});

test.each<{ what: string; code: string; given: (w: ReturnType<typeof world>) => CalloutAnswer }>([
  { what: "no credential", code: "ticket_missing", given: ({ ask }) => ask({}) },
  { what: "an empty one", code: "ticket_missing", given: ({ ask }) => ask({ auth_token: "", pass: "" }) },
  { what: "one that is no text", code: "ticket_missing", given: ({ ask }) => ask({ auth_token: { a: 1 } }) },
  { what: "a job's valid password", code: "ticket_invalid", given: ({ ask }) => ask({ pass: "wln_aGVsbG8.x" }) },
  { what: "a CI token", code: "ticket_invalid", given: ({ ask }) => ask({ auth_token: "eyJhbGciOi.eyJ.c2ln" }) },
  {
    what: "a ticket under another key",
    code: "ticket_invalid",
    given: ({ ask, server }) => {
      const words = { connection: "nc_1", session: "ses_1", target: "events", serverId: server.serverId, cid: 7 };
      return ask({ auth_token: mintTicket(randomBytes(32), { ...words, expiresAt: fakeNow + 5_000 }) });
    },
  },
  {
    what: "an expired ticket",
    code: "ticket_invalid",
    given: ({ ask, ticket }) => ask({ auth_token: ticket({ expiresAt: fakeNow }) }),
  },
  {
    what: "a ticket on another connection",
    code: "ticket_elsewhere",
    given: ({ ask, ticket }) => ask({ auth_token: ticket() }, { cid: 8 }),
  },
  {
    what: "a ticket at another server",
    code: "ticket_elsewhere",
    given: ({ ask, ticket }) => ask({ auth_token: ticket({ serverId: createNkey("server", randomBytes).publicKey }) }),
  },
  {
    what: "a used ticket",
    code: "ticket_used",
    given: ({ ask, ticket }) => {
      const one = ticket();
      ask({ auth_token: one });
      return ask({ auth_token: one });
    },
  },
  {
    what: "a WebSocket client",
    code: "connection_kind",
    given: ({ ask, ticket }) => ask({ auth_token: ticket() }, { info: { type: "websocket" } }),
  },
  {
    what: "a leaf node",
    code: "connection_kind",
    given: ({ ask, ticket }) => ask({ auth_token: ticket() }, { info: { kind: "Leafnode" } }),
  },
])("refused with a sealed error, and told to the record: $what", ({ code, given }) => {
  const w = world();
  const answer = given(w);
  expect(answer).toMatchObject({ kind: "refused", code });
  const { error, user } = w.server.read(bytesOf(answer));
  expect([error, user]).toEqual([code, undefined]);
  expect(w.refusals).toEqual([
    expect.objectContaining({ code, request: expect.objectContaining({ from: "10.0.0.7" }) }),
  ]);
  expect(JSON.stringify(w.refusals)).not.toMatch(/wlt_|wln_|eyJ/);
});

test.each<{ what: string; code: string; more: Partial<CalloutOptions> }>([
  { what: "a session that is over", code: "grant_refused", more: { grantOf: () => undefined } },
  {
    what: "a session that cannot be looked up",
    code: "grant_refused",
    more: {
      grantOf: () => {
        throw new Error("no database");
      },
    },
  },
  { what: "an account nobody knows", code: "internal", more: { grantOf: () => ({ ...fakeGrant, account: "OTHER" }) } },
  { what: "a grant without a name", code: "internal", more: { grantOf: () => ({ ...fakeGrant, name: "" }) } },
  { what: "a grant that has ended", code: "internal", more: { grantOf: () => ({ ...fakeGrant, expiresAt: fakeNow }) } },
])("a good ticket does not help against $what, and is used up", ({ code, more }) => {
  const { ask, ticket, server } = world(more);
  const one = ticket();
  const answer = ask({ auth_token: one });
  expect([answer, server.read(bytesOf(answer)).user]).toEqual([
    expect.objectContaining({ kind: "refused", code }),
    undefined,
  ]);
  expect(ask({ auth_token: one })).toMatchObject({ code: "ticket_used" });
});

const stranger = createNkey("server", randomBytes);
const foreign = createNkey("curve", randomBytes).publicKey;
test.each<{ what: string; reason: string; as: AskedAs & { peer?: string | undefined } }>([
  { what: "past its deadline", reason: "late", as: { claims: { exp: fakeNow / 1000 - 2 } } },
  { what: "of a minute ago", reason: "late", as: { now: fakeNow - 60_000 } },
  { what: "not sealed", reason: "unsealed", as: { sealedTo: false, peer: undefined } },
  { what: "not sealed, though it says so", reason: "unsealed", as: { sealedTo: false } },
  { what: "sealed, and does not say by whom", reason: "unsealed", as: { peer: undefined } },
  { what: "sealed by another than it says", reason: "unsealed", as: { peer: foreign } },
  { what: "sealed to another", reason: "unsealed", as: { sealedTo: foreign } },
  { what: "far too large", reason: "too_large", as: { nats: { more: "x".repeat(200_000) } } },
  { what: "signed by another server", reason: "forged", as: { signer: stranger } },
  { what: "signed by an account", reason: "forged", as: { signer: createNkey("account", randomBytes) } },
  { what: "for another audience", reason: "forged", as: { claims: { aud: "nats-authorization-response" } } },
  { what: "for another account's callout", reason: "forged", as: { claims: { sub: stranger.publicKey } } },
  { what: "without a deadline", reason: "forged", as: { claims: { exp: undefined } } },
  { what: "of another type", reason: "forged", as: { nats: { type: "user" } } },
  { what: "without a server", reason: "forged", as: { nats: { server_id: null } } },
  { what: "that names another xkey inside", reason: "forged", as: { nats: { server_id: { id: "", xkey: foreign } } } },
  { what: "for a user key that is none", reason: "forged", as: { nats: { user_nkey: stranger.publicKey } } },
  { what: "without a connection number", reason: "forged", as: { info: { id: "7" } } },
  { what: "without client info", reason: "forged", as: { nats: { client_info: [] } } },
])("dropped: a request $what", ({ reason, as }) => {
  const { ask, ticket, refusals } = world();
  const one = ticket();
  expect(ask({ auth_token: one }, as)).toEqual({ kind: "dropped", reason });
  expect(refusals).toEqual([]);
  expect(ask({ auth_token: one })).toMatchObject({ kind: "admitted" }); // it did not use the ticket up
});

test("dropped: a right request of somebody who is no server, or whose xkey is not the one it names", () => {
  const { ask, ticket, server } = world();
  const account = createNkey("account", randomBytes);
  const forged = { kind: "dropped", reason: "forged" };
  const named = (id: string, xkey: string) => ({ nats: { server_id: { id, xkey, version: "2.15.1" } } });
  const secret = { auth_token: ticket({ serverId: account.publicKey }) };
  expect(ask(secret, { signer: account, ...named(account.publicKey, server.xkey) })).toEqual(forged);
  expect(ask({ auth_token: ticket() }, named(server.serverId, foreign))).toEqual(forged);
  expect(ask({ auth_token: ticket() }, named(server.serverId, server.xkey))).toMatchObject({ kind: "admitted" });
});

test("past the deadline no signature is looked at and nothing is looked up", () => {
  const { server } = world();
  const decode = vi.fn(server.keys.decode);
  const grantOf = vi.fn();
  const late = world({ keys: { ...server.keys, decode }, grantOf });
  expect(late.ask({ auth_token: late.ticket() }, { now: fakeNow - 4_000 })).toEqual({
    kind: "dropped",
    reason: "late",
  });
  expect([decode.mock.calls.length, grantOf.mock.calls.length]).toEqual([0, 0]);
});

test("clocks that differ by a second let nobody wait", () => {
  const { ask, ticket } = world();
  expect(ask({ auth_token: ticket() }, { claims: { exp: fakeNow / 1000 - 1 } })).toMatchObject({ kind: "admitted" });
});

test("whatever arrives, it is answered or dropped, and nobody gets in", () => {
  const { callout, server, ticket } = world();
  const right = server.ask({ auth_token: ticket() }, 7);
  fc.assert(
    fc.property(
      fc.oneof(
        fc.uint8Array({ maxLength: 400 }),
        fc.nat({ max: right.length - 1 }).map((at) => right.map((byte, index) => (index === at ? byte ^ 1 : byte))),
        fc.nat({ max: right.length - 1 }).map((end) => right.subarray(0, end)),
      ),
      fc.option(fc.oneof(fc.constant(server.xkey), fc.string()), { nil: undefined }),
      (bytes, peer) => {
        expect(callout(bytes, peer)).toMatchObject({ kind: "dropped" });
      },
    ),
    { numRuns: 500 },
  );
});

describe("without an xkey", () => {
  test("open requests are answered openly, and sealed ones not at all", () => {
    const { server } = world();
    const { xkey: _, ...open } = server.keys;
    const w = world({ keys: open });
    const asked = { server_id: { id: w.server.serverId, version: "2.15.1" } };
    const answer = w.ask({ auth_token: w.ticket() }, { sealedTo: false, peer: undefined, nats: asked });
    expect(Buffer.from(bytesOf(answer)).toString()).toMatch(/^eyJ/);
    expect(w.ask({ auth_token: w.ticket() })).toEqual({ kind: "dropped", reason: "unsealed" });
  });
});

describe("asked again without credential, as a reload does", () => {
  const open = { ...fakeGrant, mode: "gateway" as const };

  test("an open connection stays who it is, as it was let in", () => {
    const grantOfOpen = vi.fn<NonNullable<CalloutOptions["grantOfOpen"]>>(() => open);
    const w = world({ grantOfOpen });
    const read = w.server.read(bytesOf(w.ask({}, { options: { user: "somebody else" } })));
    expect(read.user).toMatchObject({ name: fakeGrant.name, nats: { proxy_required: true } });
    expect(grantOfOpen).toHaveBeenCalledWith(w.server.serverId, 7);
    const direct = world({ grantOfOpen: () => ({ ...open, mode: "direct" }) });
    expect(direct.server.read(bytesOf(direct.ask({}))).user).toMatchObject({ exp: fakeNow / 1000 + 900 });
  });

  test("an open connection does not make another credential good", () => {
    const { ask, ticket } = world({ grantOfOpen: () => open });
    expect(ask({ auth_token: "x" })).toMatchObject({ code: "ticket_invalid" });
    expect(ask({ auth_token: ticket({ expiresAt: fakeNow }) })).toMatchObject({ code: "ticket_invalid" });
    expect(ask({ pass: "wln_x" })).toMatchObject({ code: "ticket_invalid" });
  });

  test("one that is not open, or cannot be looked up, is refused", () => {
    const failing = () => {
      throw new Error("no");
    };
    for (const grantOfOpen of [() => undefined, failing])
      expect(world({ grantOfOpen }).ask({})).toMatchObject({ kind: "refused", code: "ticket_missing" });
  });
});

describe("direct mode", () => {
  test("a job's password is somebody, without a proxy and for fifteen minutes", async () => {
    const admitDirect = vi.fn(async () => fakeGrant);
    const { ask, server } = world({ admitDirect });
    const answer = await ask({ auth_token: "eyJ.eyJ.x" }, { options: { user: "events", name: "n" } });
    const { user } = server.read(bytesOf(answer));
    expect(user).toMatchObject({ name: fakeGrant.name, exp: fakeNow / 1000 + 900 });
    expect(user?.nats).not.toHaveProperty("proxy_required");
    expect(admitDirect).toHaveBeenCalledWith(
      expect.objectContaining({
        secret: "eyJ.eyJ.x",
        user: "events",
        cid: 7,
        from: "10.0.0.7",
        client: { name: "n", lang: "go", version: "1.50" },
      }),
    );
  });

  test("a ticket still is a ticket, and is never asked about", () => {
    const admitDirect = vi.fn(async () => fakeGrant);
    const { ask, ticket, server } = world({ admitDirect });
    const { user } = server.read(bytesOf(ask({ auth_token: ticket() })));
    expect(user?.nats).toHaveProperty("proxy_required", true);
    expect(ask({ auth_token: `${ticket()}x` })).toMatchObject({ code: "ticket_invalid" });
    expect(ask({})).toMatchObject({ code: "ticket_missing" });
    expect(admitDirect).not.toHaveBeenCalled();
  });

  test("what is refused is refused, sealed, with the reason for operators only", async () => {
    const refused = new WayleaveError("subject_token_expired", "The token expired at 13:00.");
    const { ask, server, refusals } = world({ admitDirect: () => Promise.reject(refused) });
    const answer = await ask({ pass: "x" });
    expect(server.read(bytesOf(answer))).toMatchObject({ error: "credential_refused", user: undefined });
    expect(refusals).toMatchObject([
      { code: "credential_refused", detail: "subject_token_expired: The token expired at 13:00." },
    ]);
  });

  test("a fault is a refusal that says nothing of its cause", async () => {
    const { ask, server, refusals } = world({ admitDirect: () => Promise.reject(new Error("password hunter2")) });
    expect(server.read(bytesOf(await ask({ pass: "x" }))).user).toBeUndefined();
    expect(JSON.stringify(refusals)).not.toContain("hunter2");
  });
});
