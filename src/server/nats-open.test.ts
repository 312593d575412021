import { expect, test } from "vitest";
import type { Admission } from "../gateway/nats/ports.ts";
import { createOpenConnections } from "./nats-open.ts";

const admission = (connection: string, session = "ses_a"): Admission => ({
  ...{ connection, session, target: "events", account: "CI", inbox: "_INBOX_x", identity: "", hardEndAt: 0 },
  ...{ records: "durable", deliveries: "counted", record: {} },
});
const opened = () => {
  const open = createOpenConnections();
  open.add({ admission: admission("nc_1"), mode: "gateway", serverId: "N1", cid: 7 });
  open.add({ admission: admission("nc_2", "ses_b"), mode: "direct", serverId: "N1", cid: 8 });
  return open;
};

test("a connection is found by its name, and by the server's own words for it", () => {
  const open = opened();
  expect(open.find("nc_1")?.cid).toBe(7);
  expect(open.at("N1", 8)?.admission.connection).toBe("nc_2");
  expect(open.ofSession("ses_b").map(({ cid }) => cid)).toEqual([8]);
});

test.each([
  { what: "another server", serverId: "N2", cid: 7 },
  { what: "another number", serverId: "N1", cid: 9 },
  { what: "words that only run together", serverId: "N", cid: 17 },
])("$what is not that connection", ({ serverId, cid }) => {
  expect(opened().at(serverId, cid)).toBeUndefined();
});

test("one that tries again is where it is now, and nowhere else", () => {
  const open = opened();
  open.add({ admission: admission("nc_1"), mode: "gateway", serverId: "N2", cid: 1 });
  expect(open.at("N1", 7)).toBeUndefined();
  expect(open.at("N2", 1)?.admission.connection).toBe("nc_1");
});

test("what is forgotten or not known any more is found no more", () => {
  const open = opened();
  open.forget("nc_1");
  open.forget("nc_never");
  expect([open.find("nc_1"), open.at("N1", 7)]).toEqual([undefined, undefined]);
  open.prune((connection) => connection !== "nc_2");
  expect([open.find("nc_2"), open.at("N1", 8), open.ofSession("ses_b")]).toEqual([undefined, undefined, []]);
});
