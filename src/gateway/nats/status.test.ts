import { expect, test } from "vitest";
import { natsStatus } from "./status.ts";

const at = Date.parse("2026-11-24T09:30:12.114Z");
const parts = {
  gateway: "nats-1",
  direct: false,
  callout: { answering: true, since: at },
  counts: { admitted: 3, refused: 2, dropped: { late: 1, failed: 4 }, pending: 0 },
  system: { connected: true, since: at },
  servers: [],
  accounts: [],
} as const;

test("a gateway that answers says so with its counts", () => {
  expect(natsStatus(parts)).toEqual({
    gateway: "nats-1",
    mode: "gateway",
    callout: { answering: true, since: "2026-11-24T09:30:12.114Z", admitted: 3, refused: 2, dropped: 5 },
    system: { connected: true, since: "2026-11-24T09:30:12.114Z" },
    servers: [],
    accounts: [],
  });
});

test("one that does not says why, and knows of no server", () => {
  const callout = { answering: false, since: at, why: "nats-server was never reached" } as const;
  const status = natsStatus({ ...parts, direct: true, callout, counts: undefined, servers: undefined });
  expect(status).toMatchObject({ mode: "direct", callout: { answering: false, why: callout.why, dropped: 0 } });
  expect(status).not.toHaveProperty("servers");
});
