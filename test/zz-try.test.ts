import { beforeAll, afterAll, test, expect, onTestFinished } from "vitest";
import { startProof } from "./nats-proof-world.ts";
import { monitored } from "./nats-proof-admin.ts";
import { attackPolicy } from "./nats-proof-attack-lab.ts";
test("two gateways", async () => {
  const proof = await startProof({ policy: attackPolicy, projects: ["acme/shop", "acme/worker"], second: "bus-2" });
  onTestFinished(proof.close);
  const job = await proof.startJob("acme/shop");
  const out: string[] = [];
  console.log(JSON.stringify((await monitored<any>(proof.world, "connz")).connections.map((c:any)=>[c.name,c.subscriptions])));
  for (let i = 0; i < 8; i++) { const t = performance.now(); out.push(await job.connect().then(async (c) => { await c.close(); return "ok"; }, (e) => String(e)) + " " + Math.round(performance.now()-t)); }
  console.log(out.join("\n"));
});
