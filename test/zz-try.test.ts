import { test, expect, onTestFinished } from "vitest";
import { startProof, until } from "./nats-proof-world.ts";
import { monitored } from "./nats-proof-admin.ts";
import { operatorRecords } from "./operator.ts";
const policy = `version: 1
targets: { events: { nats: { account: CI } } }
who: { shop: { gitlab: { project: acme/shop } } }
roles:
  all: { for: [shop], allow: { events: ["pub load.>", "sub load.>", "req svc.>", "sub svc.>", "pull LOAD.c"] } }
`;
test.each(["operator","config"] as const)("world %s", async (mode) => {
  const t0 = performance.now();
  const proof = await startProof({ policy, projects: ["acme/shop"], mode });
  onTestFinished(proof.close);
  console.log("up", performance.now() - t0);
  const job = await proof.startJob("acme/shop");
  const c = await job.connect({ maxReconnectAttempts: 0 });
  const admin = await proof.admin.connect("CI");
  const sub = c.subscribe("load.>", { max: 2 });
  c.publish("load.x", "hi");
  await c.flush();
  admin.publish("load.y", "adm");
  for await (const m of sub) console.log(m.subject, m.string(), m.headers?.get("Wayleave-Job"));
  console.log(await job.session());
  await c.drain();
  await admin.close();
  console.log(JSON.stringify(await monitored(proof.world, "accstatz?unused=1")));
  const recs = await operatorRecords({ broker: proof.world.broker! }, "limit=50");
  for (const r of recs) console.log(r.kind, JSON.stringify(r.data).slice(0,300));
  console.log("t", performance.now() - t0);
});
