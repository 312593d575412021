import { loadConfig } from "./load.ts";

export const key = Buffer.alloc(32, 7).toString("base64");
const files: Readonly<Record<string, string>> = {
  "/etc/wayleave/policy": "a folder",
  "/etc/wayleave/key": `${key}\n`,
  "/etc/wayleave/short": "c2hvcnQ=\n",
  "/etc/wayleave/empty": "\n",
  "/etc/wayleave/edge.secret": "s3cret-of-edge\n",
  "/etc/wayleave/jwks.json": '{"keys":[{"kty":"RSA","kid":"1"}]}',
  "/etc/wayleave/ca.pem": "PEM",
};

export function readFile(path: string): string {
  const text = files[path];
  if (text === "a folder") throw Object.assign(new Error("is a folder"), { code: "EISDIR" });
  if (text === undefined) throw Object.assign(new Error("missing"), { code: "ENOENT" });
  return text;
}

export const path = "/etc/wayleave/wayleave.yaml";

export function load(text: string, env: Readonly<Record<string, string>> = {}) {
  return loadConfig({ path, env, readFile: (file) => (file === path ? text : readFile(file)) });
}

export function problems(text: string, env: Readonly<Record<string, string>> = {}): string[] {
  const loaded = load(text, env);
  if (!("diagnostics" in loaded)) return [];
  return loaded.diagnostics.map(({ code, place }) => `${place.line}:${place.column} ${code}`);
}

export const smallest = `issuer: https://wayleave.example
trust_domain: acme.example
keys: { encryption_key_file: key }
issuers: [{ name: gitlab, type: gitlab }]
`;
