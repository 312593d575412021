import { readdirSync, readFileSync } from "node:fs";
const dir = "/tmp/wl/gwt/prof/"; const p = JSON.parse(readFileSync(dir + readdirSync(dir)[0], "utf8"));
const self = new Map<string, number>(); const by = new Map(p.nodes.map((n: any) => [n.id, n]));
p.samples.forEach((id: number, i: number) => { const n: any = by.get(id); const k = `${n.callFrame.functionName} ${n.callFrame.url.split("/").pop()}:${n.callFrame.lineNumber}`; self.set(k, (self.get(k) ?? 0) + p.timeDeltas[i]); });
const total = [...self].filter(([k]) => !k.startsWith("(idle")).reduce((a, [, v]) => a + v, 0);
for (const [k, v] of [...self].sort((a, b) => b[1] - a[1]).slice(0, 28)) console.log((v / total * 100).toFixed(1) + "%", k);
