import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { lintNginx } from "./lint.ts";
import { fakePolicy } from "./policy.fake.ts";
import { renderNginx } from "./render.ts";

const folder = new URL("testdata/lint/", import.meta.url);
const names = readdirSync(folder);
const rendered = new Map(
  renderNginx({
    gateway: {
      name: "edge-1",
      brokerUrl: "http://127.0.0.1:8700",
      targets: ["billing"],
      directory: "/etc/nginx/wayleave",
      secretFile: "/etc/nginx/wayleave/wayleave-secret.conf",
    },
    policy: fakePolicy([{ name: "billing" }]),
  }).files.map((file) => [`/etc/nginx/wayleave/${file.path}`, file.text]),
);

function lint(text: string) {
  const read = (path: string) => (path === "/etc/nginx/nginx.conf" ? text : rendered.get(path));
  const targets = [{ name: "billing", hosts: ["billing.internal"] }];
  return lintNginx({ file: "/etc/nginx/nginx.conf", text, read, targets });
}

/** One finding as a golden line: severity, code, where, and the text that is underlined. */
function golden(text: string): string {
  return lint(text)
    .map(({ severity, code, place }) => {
      const underlined = (text.split("\n")[place.line - 1] ?? "").slice(
        place.column - 1,
        place.column - 1 + place.length,
      );
      return `${severity} ${code} ${place.line}:${place.column} ${underlined}\n`;
    })
    .join("");
}

test("there are goldens", () => {
  expect(names.length).toBeGreaterThan(30);
});

test.each(names)("%s", (name) => {
  const [input = "", expected] = readFileSync(new URL(name, folder), "utf8").split("----------\n");
  expect(golden(input)).toBe(expected);
  const [code = ""] = name.split(".");
  if (name.includes(".good.")) expect(expected).toBe("");
  else expect(expected).toContain(` ${code} `);
});

test("every finding says what is wrong and what to do", () => {
  const all = names.flatMap((name) => lint(readFileSync(new URL(name, folder), "utf8").split("----------\n")[0] ?? ""));
  const found = all.filter(({ code }) => code !== "config_syntax");
  expect(found.filter(({ help, message }) => !help || message.length < 20)).toEqual([]);
  expect(new Set(found.map(({ code }) => code)).size).toBeGreaterThan(15);
});

test("the guide has a line for every code", () => {
  const guide = readFileSync(new URL("../../../docs/guides/nginx.md", import.meta.url), "utf8");
  const codes = new Set(names.map((name) => name.split(".")[0] ?? "").filter((code) => code.includes("_")));
  expect([...codes].filter((code) => !guide.includes(`\`${code}\``))).toEqual([]);
});

describe("includes with a pattern", () => {
  test("are read in order where the reader can list files", () => {
    const text = "http { include conf.d/*.conf; }";
    const files: Readonly<Record<string, string>> = {
      "/n/conf.d/a.conf": "underscores_in_headers on;",
      "/n/conf.d/b.conf": "}",
    };
    const found = lintNginx({
      file: "/n/nginx.conf",
      text,
      read: (path) => files[path],
      glob: () => Object.keys(files),
    });
    expect(found).toMatchObject([
      { code: "config_syntax", place: { file: "/n/conf.d/b.conf", line: 1, column: 1, length: 1 } },
    ]);
  });
});

describe("what was rendered while a target was observed", () => {
  const text = `http {
    include wayleave/wayleave-http.conf;
    server {
      include wayleave/wayleave-server.conf;
      location / { include wayleave/wayleave-location-billing.conf; proxy_pass http://billing; }
    }
  }`;

  test.each<{ rendered: "observe" | "enforce"; now: "observe" | "enforce"; codes: readonly string[] }>([
    { rendered: "observe", now: "enforce", codes: ["stale_render"] },
    { rendered: "observe", now: "observe", codes: [] },
    { rendered: "enforce", now: "enforce", codes: [] },
    { rendered: "enforce", now: "observe", codes: [] },
  ])("rendered to $rendered, policy says $now: $codes", ({ rendered, now, codes }) => {
    const { files } = renderNginx({
      gateway: {
        name: "edge-1",
        brokerUrl: "http://127.0.0.1:8700",
        secretFile: "/n/secret.conf",
        targets: ["billing"],
      },
      policy: fakePolicy([{ name: "billing", mode: rendered }]),
    });
    const found = lintNginx({
      file: "/n/nginx.conf",
      text,
      read: (path) => files.find((file) => path === `/n/wayleave/${file.path}`)?.text,
      targets: [{ name: "billing", hosts: [], mode: now }],
    });
    expect(found.map(({ code }) => code)).toEqual(codes);
    for (const { place } of found) expect(place.file).toBe("/n/wayleave/wayleave-location-billing.conf");
  });
});
