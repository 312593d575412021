import { loadavg } from "node:os";
import { natsServerVersion } from "../demo/nats-server.ts";
import { machine } from "./machine.ts";
import { measureConnects } from "./nats-connects.ts";
import { measureEnds, measureMemory } from "./nats-ends.ts";
import { startNatsInstallation } from "./nats-installation.ts";
import { measureMessages } from "./nats-messages.ts";

/**
 * The NATS gateway next to the same nats-server without it. `node bench/nats.ts [messages] [connects] [ends]`, all of them
 * by default; `BASE` is a folder on the disk to measure, `PROFILE` one for CPU profiles of the gateway's process.
 */
const asked = process.argv.slice(2);
const wanted = (name: string) => asked.length === 0 || asked.includes(name);
const { BASE: base } = process.env;

console.log(`nats-server ${natsServerVersion()}, 128-byte messages
gateway (broker, journal, index, garbage collection) on one core; nats-server and load on the rest
${machine()}, load ${loadavg()[0]?.toFixed(1)} before\n`);
for (const authentication of ["config", "operator"] as const) {
  const parts =
    authentication === "config"
      ? [...(wanted("messages") ? [measureMessages] : []), ...(wanted("connects") ? [measureConnects] : [])]
      : [...(wanted("ends") ? [measureMemory, measureEnds] : []), ...(wanted("connects") ? [measureConnects] : [])];
  if (parts.length === 0) continue;
  const installation = await startNatsInstallation({ authentication, ...(base === undefined ? {} : { base }) });
  try {
    for (const measure of parts) {
      await measure(installation);
      console.log();
    }
  } finally {
    await installation.close();
  }
}
