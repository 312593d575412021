import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

/** Every benchmark in turn, each in a process of its own. `bench/README.md` keeps the figures. */
const all = [
  "decision",
  "candidate",
  "journal",
  "authz",
  "nginx",
  "proxy",
  "check",
  "envoy-native",
  "envoy-end",
  "svid",
  "exchange",
  "start",
  "policy",
  "store",
  "nats-wire",
  "nats-records",
  "nats",
];
const asked = process.argv.slice(2);

for (const name of asked.length > 0 ? asked : all) {
  console.log(`\n── ${name} ${"─".repeat(90 - name.length)}`);
  const { status } = spawnSync(process.execPath, [fileURLToPath(new URL(`${name}.ts`, import.meta.url))], {
    stdio: "inherit",
  });
  if (status !== 0) process.exitCode = 1;
}
