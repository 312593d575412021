const belowApi = [
  "core",
  "policy",
  "identity",
  "ci",
  "ci/*",
  "session",
  "credential",
  "gateway",
  "gateway/*",
  "events",
  "people",
  "audit",
  "store",
  "proto",
  "grpc",
  "rollout",
];

/**
 * Who may import whom: each layer, and what it may import besides itself. A layer is a folder of src; where `x/*` has
 * a row of its own, each folder of src/x is a layer that its siblings do not know. src/server.ts and src/main.ts are
 * layers of one file; demo, bench, test and scripts stand outside src. A layer that is not listed may not exist.
 */
export const mayImport: Readonly<Record<string, readonly string[]>> = {
  core: [],
  policy: ["core"],
  rollout: ["core", "policy"],
  graph: ["core"],
  identity: ["core"],
  ci: ["core", "ci/*"],
  "ci/*": ["core", "ci"],
  events: ["core", "policy"],
  people: ["core"],
  session: ["core"],
  credential: ["core"],
  audit: ["core"],
  gateway: ["core", "policy", "gateway/*"],
  "gateway/*": ["core", "policy", "gateway", "proto", "grpc"],
  store: ["core"],
  proto: [],
  grpc: ["core", "proto"],
  config: ["core"],
  api: belowApi,
  cli: ["core", "policy", "rollout", "config", "proto", "grpc"],
  server: [...belowApi, "graph", "config", "api"],
  main: ["cli"],
  demo: ["*"],
  bench: ["*"],
  scripts: ["*"],
  test: ["*"],
};

/** Single imports the table alone would refuse, each with its condition. */
export const alsoAllowed: readonly {
  readonly from: RegExp;
  readonly to: RegExp;
  /** `lazy`: only by `import()`. `pure`: only where nothing it needs at run time does input or output. */
  readonly only?: "lazy" | "pure";
  readonly because: string;
}[] = [
  {
    from: /^src\/config\//,
    to: /^src\/(ci|gateway)\/[^/]+\/config\.ts$/,
    because: "each CI and gateway owns its part of the configuration's schema",
  },
  {
    from: /^src\/cli\//,
    to: /^src\/api\/contract\.ts$/,
    because: "the contract is what clients rely on",
  },
  {
    from: /^src\/cli\//,
    to: /^src\/ci\/providers\.ts$/,
    only: "lazy",
    because: "checking a policy needs every CI's selector fields",
  },
  {
    from: /^src\/cli\//,
    to: /^src\/gateway\//,
    only: "pure",
    because: "rendering and linting a gateway's configuration needs no server",
  },
  {
    from: /^src\/rollout\//,
    to: /^src\/gateway\/nats\/reserved-subjects\.ts$/,
    only: "pure",
    because: "a recorded message is read as the gateway read it",
  },
  {
    from: /^src\/cli\/(serve|demo)\.ts$/,
    to: /^src\/server\.ts$/,
    only: "lazy",
    because: "these two commands are a server; every other command talks HTTP to one",
  },
  {
    from: /^src\/cli\/nats-gateway\.ts$/,
    to: /^src\/server\/nats-gateway-process\.ts$/,
    only: "lazy",
    because: "a gateway of its own process is a server too; it needs nothing of the broker's but its address",
  },
  {
    from: /^src\/cli\/demo\.ts$/,
    to: /^demo\//,
    only: "lazy",
    because: "only the demo command may reach the simulators",
  },
];

/** Layers without input, output, clock, randomness or environment: what they need comes as arguments. */
export const pureLayers: readonly string[] = ["core", "policy", "rollout", "graph"];

/** npm packages that touch the network, a disk or a stream. */
export const effectful: readonly string[] = ["fastify", "kysely", "pg", "pino", "undici"];

/** What a pure layer's source must not say. */
export const effects: readonly { readonly name: string; readonly text: RegExp }[] = [
  { name: "Date.now", text: /\bDate\.now\b/ },
  { name: "new Date()", text: /\bnew Date\(\s*\)/ },
  { name: "Math.random", text: /\bMath\.random\b/ },
  { name: "crypto's randomness", text: /\bcrypto\.(randomUUID|getRandomValues)\b/ },
  { name: "performance.now", text: /\bperformance\.now\b/ },
  { name: "process", text: /\bprocess\.[a-zA-Z]/ },
  { name: "a timer", text: /\b(setTimeout|setInterval|setImmediate)\(/ },
  { name: "fetch", text: /(?<![.\w])fetch\(/ },
  { name: "console", text: /\bconsole\.[a-z]/ },
];

/** Names that admit everything and so refuse nothing. */
export const drawer = /(^|-)(utils?|helpers?|common|shared|misc|fns|manager)$/;

export const maxLines = 400;

/** Files made from others, as long as they come out. */
export const generated = /^src\/proto\/.*_pb\.ts$/;
