import { spawnSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { lintNginx } from "./lint.ts";
import { fakePolicy } from "./policy.fake.ts";
import { renderNginx, renderSecret } from "./render.ts";
import type { NginxGatewaySettings } from "./settings.ts";

const gateway: NginxGatewaySettings = {
  name: "edge-1",
  brokerUrl: "http://127.0.0.1:8700",
  targets: ["review", "billing"],
  secretFile: "/etc/nginx/wayleave/wayleave-secret.conf",
};
const policy = fakePolicy([
  { name: "billing" },
  { name: "review", mode: "observe", hosts: ["${environment.slug}.review.acme.example"] },
  { name: "db", kind: "secret", hosts: [] },
  { name: "ledger", kind: "mesh", hosts: [] },
  { name: "chat", streams: true, sharesRoutes: true, proof: "required", assertion: "required" },
  {
    name: "deploys",
    onOutage: { keepSeconds: 60, place: { file: "policy/shop.yaml", line: 9, column: 7, length: 4 } },
  },
]);

/** Everything rendered, as one golden text. */
function golden(settings: Partial<NginxGatewaySettings>): string {
  const { files, notes } = renderNginx({ gateway: { ...gateway, ...settings }, policy });
  const parts = files.map(({ path, mode, text }) => `===== ${path} ${mode.toString(8)}\n${text}`);
  return [...parts, "===== notes\n", ...notes.map((note) => `${note}\n`)].join("");
}

const folder = new URL("testdata/render/", import.meta.url);
const names = readdirSync(folder);

test("there are goldens", () => {
  expect(names.length).toBeGreaterThanOrEqual(3);
});

test.each(names)("golden: %s", (name) => {
  const [input = "", expected] = readFileSync(new URL(name, folder), "utf8").split("----------\n");
  expect(golden(JSON.parse(input))).toBe(expected);
});

test("the order of targets and of policy changes no byte", () => {
  const once = golden({});
  expect(golden({ targets: ["billing", "review", "billing"] })).toBe(once);
});

describe("refuses, naming the clause", () => {
  test.each<{ what: string; settings: Partial<NginxGatewaySettings>; words: RegExp }>([
    { what: "a target that is a secret", settings: { targets: ["db"] }, words: /target db is of kind secret/ },
    { what: "a mesh target", settings: { targets: ["ledger"] }, words: /target ledger is of kind mesh/ },
    { what: "a target that policy does not have", settings: { targets: ["biling"] }, words: /no target "biling"/ },
    { what: "no targets", settings: { targets: [] }, words: /fronts no target/ },
    {
      what: "a keep without njs",
      settings: { targets: ["deploys"] },
      words: /target deploys says on_outage: keep 60s \(policy\/shop.yaml:9\).*njs/,
    },
    {
      what: "a keep in front of a gateway that wants assertions",
      settings: { targets: ["deploys"], njs: true, behind: { deploys: "inner-1" } },
      words: /wants an assertion/,
    },
    { what: "a cache without njs", settings: { cacheSeconds: 2 }, words: /njs/ },
    { what: "a cache of a minute", settings: { cacheSeconds: 60, njs: true }, words: /1 or 2 seconds/ },
    { what: "a name that is syntax", settings: { name: "a; return 200" }, words: /its name/ },
    { what: "an address with a path", settings: { brokerUrl: "http://127.0.0.1:8700/x" }, words: /brokerUrl/ },
    { what: "an address with a password", settings: { brokerUrl: "http://a:b@127.0.0.1" }, words: /brokerUrl/ },
    { what: "another scheme", settings: { brokerUrl: "ftp://127.0.0.1" }, words: /brokerUrl/ },
    { what: "a socket without a path", settings: { brokerUrl: "unix:wayleave.sock" }, words: /brokerUrl/ },
    { what: "a path with a variable", settings: { accessLog: "/var/log/$host.log" }, words: /literal "\$"/ },
    { what: "a path with a line break", settings: { secretFile: "/etc/x\nreturn 200;" }, words: /control character/ },
  ])("$what", ({ settings, words }) => {
    expect(() => golden(settings)).toThrow(
      expect.objectContaining({
        code: expect.stringMatching(/^(render_refused|keep_unsupported)$/),
        message: expect.stringMatching(words),
      }),
    );
  });

  test.each(["short", "has a space in it....", 'quote"quote"quote"quote', "$secret$secret$secret", "a".repeat(300)])(
    "the secret %j, unsaid",
    (secret) => {
      expect(() => renderSecret(secret)).toThrow(
        expect.objectContaining({ code: "render_refused", message: expect.not.stringContaining(secret) }),
      );
    },
  );
});

test("a plain http broker over a network is noted", () => {
  expect(golden({ brokerUrl: "http://10.0.0.7:8700" })).toContain("plain http over a network");
});

test("the rendered files pass the lint of a host that includes them", () => {
  const { files } = renderNginx({ gateway, policy });
  const text = `http { include w/wayleave-http.conf; server { include w/wayleave-server.conf;
    location / { include w/wayleave-location-billing.conf; proxy_pass http://billing; } } }`;
  const read = (path: string) => files.find((file) => path === `/w/${file.path}`)?.text;
  expect(lintNginx({ file: "/nginx.conf", text, read })).toEqual([]);
});

test("the probes are a shell script that parses", () => {
  const script = renderNginx({ gateway, policy }).files.find(({ path }) => path === "wayleave-probes.sh")?.text ?? "";
  const result = spawnSync("sh", ["-n"], { input: script, encoding: "utf8" });
  expect(result).toMatchObject({ status: 0, stderr: "" });
  expect(spawnSync("sh", ["-s"], { input: script, encoding: "utf8" })).toMatchObject({ status: 2 });
});
