import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { natsPattern, place, policyModel, role, target } from "../../policy/policy.fake.ts";
import { renderNats } from "./render.ts";
import type { NatsServerSettings, NatsTrust, RenderInput } from "./settings.ts";

const gateway: NatsServerSettings = {
  name: "bus",
  targets: ["events"],
  servers: [{ host: "127.0.0.1", port: 4222, tls: false }],
  authentication: "operator",
  direct: false,
};

const at = (line: number) => ({ ...place(line), file: "policy/nats.yaml" });
const nats = (name: string, account: string, line: number) => ({
  ...target(name, "nats", { settings: { account } }),
  place: at(line),
});
const pulling = role("pull", {}, {});
const natsOperation = (text: string, line: number) =>
  ({ kind: "nats", pattern: natsPattern(text), place: at(line) }) as const;
const pull = natsOperation("pull DEPLOYS.workers", 21);
const policy = policyModel({
  targets: [
    nats("events", "CI", 3),
    { ...nats("chat", "include", 4), mode: "observe" },
    nats("builds", "P_${job.project_id}", 5),
    nats("own", "sys", 6),
    nats("spaced", "two words", 7),
    nats("other", "CI", 8),
    { ...target("billing"), place: at(9) },
  ],
  roles: [
    { ...pulling, allow: { events: [pull, natsOperation("pub a.b", 20)], builds: [pull] } },
    { ...pulling, id: "again", allow: { events: [natsOperation("pull AUDIT.reader", 25), pull] } },
  ],
});

const key = (prefix: string, name: string) => `${prefix}${name}`.padEnd(56, "A");
const trust: NatsTrust = {
  jwts: { operator: "eyJ.operator", system: "eyJ.system", auth: "eyJ.auth", sentinel: "eyJ.sentinel" },
  system: { key: key("A", "SYSTEM"), users: [key("U", "SYSTEM")] },
  auth: { key: key("A", "AUTH"), users: [key("U", "SERVICE")], xkey: key("X", "AUTH") },
  issuer: key("A", "ISSUER"),
  proxies: [key("N", "PROXY")],
  account: (name) => ({ key: key("A", "CI"), signingKeys: [], jwt: `eyJ.${name}` }),
};

type Changes = Partial<Omit<RenderInput, "gateway">> & { readonly gateway?: Partial<NatsServerSettings> };

const render = (changes: Changes) =>
  renderNats({ policy, trust, ...changes, gateway: { ...gateway, ...changes.gateway } });

/** Everything rendered, as one golden text. */
function golden(changes: Changes): string {
  const { files, notes } = render(changes);
  const parts = files.map(({ path, mode, text }) => `===== ${path} ${mode.toString(8)}\n${text}`);
  return [...parts, "===== notes\n", ...notes.map(({ code, text }) => `${code}: ${text}\n`)].join("");
}

const folder = new URL("testdata/render/", import.meta.url);
const names = readdirSync(folder);

test("there are goldens", () => {
  expect(names.length).toBeGreaterThanOrEqual(6);
});

test.each(names)("golden: %s", (name) => {
  const [input = "", expected] = readFileSync(new URL(name, folder), "utf8").split("----------\n");
  expect(golden(JSON.parse(input))).toBe(expected);
});

test("the order of targets, keys and policy changes no byte", () => {
  const more: NatsTrust = {
    ...trust,
    proxies: [key("N", "B"), key("N", "A")],
    system: { ...trust.system, users: [key("U", "B"), key("U", "A")] },
  };
  const turned: NatsTrust = {
    ...more,
    proxies: more.proxies.toReversed(),
    system: { ...more.system, users: more.system.users.toReversed() },
  };
  for (const authentication of ["operator", "config"] as const) {
    const once = golden({ trust: more, gateway: { authentication, targets: ["chat", "events"] } });
    const again = { ...policy, targets: policy.targets.toReversed(), roles: policy.roles.toReversed() };
    const gateway = { authentication, targets: ["events", "chat", "events"] };
    expect(golden({ trust: turned, policy: again, gateway })).toBe(once);
  }
});

test("signing keys change the accounts' own files and nothing that a server reads", () => {
  const rotated: NatsTrust = { ...trust, account: (name) => ({ ...trust.account(name), jwt: "eyJ.rotated" }) };
  const before = render({}).files;
  const changed = render({ trust: rotated }).files.filter((file, at) => file.text !== before[at]?.text);
  expect(changed.map(({ path }) => path)).toEqual(["account-CI.jwt"]);
});

describe("nothing rendered", () => {
  const everyForm = [
    { gateway: { authentication: "operator" } },
    { gateway: { authentication: "config" } },
    { fragments: true, gateway: { authentication: "operator", direct: true } },
    { fragments: true, gateway: { authentication: "config", direct: true } },
  ] as const satisfies readonly Changes[];

  test.each(everyForm)("has a user whom nobody is asked about, a seed or a monitoring port: $gateway", (changes) => {
    const text = render(changes)
      .files.map((file) => file.text)
      .join("");
    expect(text).not.toMatch(
      /no_auth_user|password|pass:|\bS[OAUXN][A-Z2-7]{50,}|http(s)?(_port)?:|leafnodes|websocket|mqtt/,
    );
  });

  test("raises the longest line where CONNECT is the gateway's own", () => {
    expect(golden({})).not.toContain("max_control_line");
    expect(golden({ gateway: { direct: true } })).toContain("max_control_line: 16384");
  });
});

describe("notes", () => {
  const codes = (changes: Changes) => render(changes).notes.map(({ code }) => code);

  test.each<{ code: string; when: Changes; unless: Changes }>([
    { code: "direct_mode", when: { gateway: { direct: true } }, unless: {} },
    { code: "no_auth_user", when: { fragments: true }, unless: {} },
    { code: "config_mode", when: { gateway: { authentication: "config" } }, unless: {} },
    { code: "account_by_template", when: { gateway: { targets: ["builds"] } }, unless: {} },
    { code: "target_observed", when: { gateway: { targets: ["chat"] } }, unless: {} },
    {
      code: "target_not_fronted",
      when: {},
      unless: { frontedElsewhere: ["chat", "builds", "own", "spaced", "other"] },
    },
    { code: "stream_needed", when: {}, unless: { gateway: { targets: ["chat"] } } },
    {
      code: "plain_servers",
      when: { gateway: { servers: [{ host: "10.0.0.7", port: 4222, tls: false }] } },
      unless: { gateway: { servers: [{ host: "10.0.0.7", port: 4222, tls: true }] } },
    },
    {
      code: "certificate_missing",
      when: { gateway: { servers: [{ host: "10.0.0.7", port: 4222, tls: true }] } },
      unless: { fragments: true, gateway: { servers: [{ host: "10.0.0.7", port: 4222, tls: true }] } },
    },
  ])("$code where it holds, and only there", ({ code, when, unless }) => {
    expect(codes(when)).toContain(code);
    expect(codes(unless)).not.toContain(code);
  });

  test("name direct mode for what it is", () => {
    const note = render({ gateway: { direct: true } }).notes.find(({ code }) => code === "direct_mode");
    expect(note?.text).toMatch(/authentication WITHOUT message audit/);
  });
});

describe("refuses, naming the clause", () => {
  test.each<{ what: string; changes: Changes; words: RegExp }>([
    { what: "no targets", changes: { gateway: { targets: [] } }, words: /fronts no target/ },
    { what: "no servers", changes: { gateway: { servers: [] } }, words: /has no server/ },
    {
      what: "a target that policy does not have",
      changes: { gateway: { targets: ["evens"] } },
      words: /no target "evens"/,
    },
    {
      what: "a target of another kind",
      changes: { gateway: { targets: ["billing"] } },
      words: /billing \(policy\/nats.yaml:9\) is of kind http/,
    },
    {
      what: "an account by template in config mode",
      changes: { gateway: { authentication: "config", targets: ["builds"] } },
      words: /builds \(policy\/nats.yaml:5\) .*P_\$\{job.project_id\}.*authentication: operator/,
    },
    {
      what: "an account of Wayleave's own",
      changes: { gateway: { targets: ["own"] } },
      words: /account sys, .*no place for jobs/,
    },
    {
      what: "an account that is no name",
      changes: { gateway: { targets: ["spaced"] } },
      words: /spaced .*correct account/,
    },
    { what: "a gateway without a key", changes: { trust: { ...trust, proxies: [] } }, words: /no key to prove itself/ },
    {
      what: "a folder that is relative",
      changes: { gateway: { dataDirectory: "data" } },
      words: /"data" must be an absolute path/,
    },
    {
      what: "a certificate that is relative",
      changes: { gateway: { certificate: { certFile: "a.crt", keyFile: "/a.key" } } },
      words: /"a.crt" must be an absolute path/,
    },
    {
      what: "a path with a line break",
      changes: { gateway: { dataDirectory: '/data"\nno_auth_user: x' } },
      words: /control character/,
    },
  ])("$what", ({ changes, words }) => {
    expect(() => render(changes)).toThrow(
      expect.objectContaining({ code: "render_refused", message: expect.stringMatching(words) }),
    );
  });
});

const nastyPath = fc.oneof(
  fc.string({ unit: "binary-ascii", minLength: 1 }),
  fc.string({ unit: fc.constantFrom("\\", '"', "'", "#", "{", "}", "$", " ", "x", "\n"), minLength: 1 }),
);

test("law: no path breaks out of its quotes", () => {
  fc.assert(
    fc.property(nastyPath, (path) => {
      let text: string;
      try {
        text = golden({ gateway: { dataDirectory: `/${path}` } });
      } catch (error) {
        expect(error).toMatchObject({ code: "render_refused" });
        return;
      }
      const plain = golden({ gateway: { dataDirectory: "/x" } });
      const settings = (rendered: string) => rendered.replaceAll(/"(?:[^"\\]|\\.)*"/g, '""').replaceAll(/^#.*$/gm, "");
      expect(settings(text)).toBe(settings(plain));
    }),
  );
});
