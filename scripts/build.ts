import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type RolldownOutput, rolldown } from "rolldown";

const root = fileURLToPath(new URL("..", import.meta.url));

/** Each is a file of its own by exactly this name: what `bin` starts, and the two threads. */
const entries = {
  main: "src/main.ts",
  "index-worker": "src/store/index-worker.ts",
  "ca-worker": "src/credential/ca-worker.ts",
};

/**
 * The package as it is published: one file to start from, chunks that are read when a command needs them, every library
 * inside, and the licences of those libraries beside them. A flat folder, so that `./index-worker.js` and `../packaging` are
 * where the source says, whichever chunk asks.
 */
export async function build(folder: string): Promise<void> {
  rmSync(folder, { recursive: true, force: true });
  const bundle = await rolldown({ cwd: root, input: entries, platform: "node", external: /^(?:node:|pg-native$)/ });
  try {
    const output = await bundle.write({
      dir: folder,
      format: "esm",
      entryFileNames: "[name].js",
      chunkFileNames: "[name]-[hash].js",
    });
    writeFileSync(join(folder, "LICENSES.txt"), licences(output));
  } finally {
    await bundle.close();
  }
}

function licences({ output }: RolldownOutput): string {
  const modules = output.flatMap((file) => (file.type === "chunk" ? file.moduleIds : []));
  const packages = new Set(modules.flatMap((id) => packageOf(id) ?? []));
  return [...packages]
    .sort()
    .map(licenceOf)
    .join(`\n${"-".repeat(80)}\n\n`);
}

/** The folder of the package a module belongs to, the innermost where they are nested. */
function packageOf(id: string): string | undefined {
  return /^(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(id)?.[1];
}

function licenceOf(folder: string): string {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
    name: string;
    version: string;
    license?: string;
  };
  const file = readdirSync(folder).find((entry) => /^(?:licen[cs]e|copying)/i.test(entry));
  if (license === undefined && file === undefined) throw new TypeError(`${name} says nothing about its licence`);
  const text = file === undefined ? "" : `\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  return `${name} ${version} (${license ?? "see below"})\n${text}`;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await build(join(root, "dist"));
