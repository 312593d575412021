import type { TargetKind } from "../core/target.ts";
import { type Parsed, parsed, refused } from "./findings.ts";
import { isReservedAccount, maxAccount } from "./nats-account.ts";
import { parseTemplate, splitOutside } from "./parse-template.ts";
import { type Reading, take } from "./reading.ts";
import type { Target } from "./schema.ts";
import { type Path, placeOfKey, type Source } from "./source.ts";

type Settings = Record<string, string | readonly string[]>;

/** The settings of a target's kind, each checked for its form; mistakes are reported and the value kept out. */
export function checkSettings(kind: TargetKind, value: Target, source: Source, path: Path, reading: Reading): Settings {
  const { findings } = reading;
  const settings: Settings = {};
  const check = (key: string, written: string | undefined, rule: Rule) => {
    if (written === undefined) return;
    const read = take(matches(written, rule), source, [...path, kind, key], findings);
    if (read !== undefined) settings[key] = read;
  };
  const checkList = (key: string, written: readonly string[] | undefined, rule: Rule) => {
    if (written === undefined) return;
    settings[key] = written.flatMap(
      (item, index) => take(matches(item, rule), source, [...path, kind, key, index], findings) ?? [],
    );
  };
  check("spiffe_id", value.mesh?.spiffe_id, rules.spiffe_id);
  check("address", value.tcp?.address, rules.address);
  if (value.nats) {
    const { account: written, records = "durable", deliveries = "counted" } = value.nats;
    const account = take(checkAccount(written, reading.variables), source, [...path, kind, "account"], findings);
    Object.assign(settings, account === undefined ? {} : { account }, { records, deliveries });
  }
  check("cluster", value.kubernetes?.cluster, rules.cluster);
  checkList("groups", value.kubernetes?.groups, rules.group);
  checkList("fields", value.secret?.fields, rules.field);
  if (value.secret) {
    const vault = take(checkVault(value.secret.vault, reading.variables), source, [...path, kind, "vault"], findings);
    if (vault !== undefined) settings.vault = vault;
  }
  if (value.cloud) {
    for (const cloud of ["aws", "gcp", "azure"] as const) check(cloud, value.cloud[cloud], rules[cloud]);
    const named = Object.keys(value.cloud);
    if (named.length !== 1) {
      const at = placeOfKey(source, named[1] === undefined ? [...path, kind] : [...path, kind, named[1]]);
      findings.error("cloud_not_one", at, `one of aws, gcp, azure, not ${named.length}`, {
        help: "make it one target for each role",
      });
    }
  }
  return settings;
}

interface Rule {
  readonly form: RegExp;
  readonly what: string;
  readonly example: string;
}

const rules = {
  spiffe_id: {
    form: /^spiffe:\/\/[a-z0-9._-]{1,255}(\/(?!\.{1,2}(\/|$))[A-Za-z0-9._-]+)+$/,
    what: "a SPIFFE ID with a path",
    example: "spiffe://acme.example/ns/bank/sa/ledger",
  },
  address: {
    form: /^([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\]):([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])$/,
    what: "a lower-case host and a port",
    example: "db.internal:5432",
  },
  cluster: { form: /^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$/, what: "a cluster's name", example: "staging" },
  group: {
    form: /^(?!system:)[A-Za-z0-9]([A-Za-z0-9:._-]{0,126}[A-Za-z0-9])?$/,
    what: "a group that may be given to jobs (never system:…)",
    example: "ci-deployers",
  },
  field: { form: /^[A-Za-z0-9_.-]{1,128}$/, what: "a field's name", example: "password" },
  aws: {
    form: /^arn:aws[a-z-]*:iam::\d{12}:role\/[\w+=,.@/-]{1,512}$/,
    what: "the ARN of a role",
    example: "arn:aws:iam::111122223333:role/shop-deploy",
  },
  gcp: {
    form: /^[a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z][a-z0-9-]{4,28}[a-z0-9]\.iam\.gserviceaccount\.com$/,
    what: "a service account",
    example: "deploy@shop.iam.gserviceaccount.com",
  },
  azure: {
    form: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
    what: "an application's client id",
    example: "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
  },
} as const satisfies Readonly<Record<string, Rule>>;

/** A SPIFFE ID with a path, without templates. */
export function parseSpiffeId(text: string): Parsed<string> {
  return matches(text, rules.spiffe_id);
}

function matches(text: string, rule: Rule): Parsed<string> {
  if (text.includes("${")) {
    return refused("template_not_here", "no template can stand here", text.indexOf("${"), 2, "write the value out");
  }
  if (rule.form.test(text)) return parsed(text);
  return refused("setting_invalid", `this must be ${rule.what}`, 0, text.length, `for example ${rule.example}`);
}

/** A name, or text that jobs fill to one. */
function checkAccount(text: string, variables: readonly string[]): Parsed<string> {
  const template = parseTemplate(text, variables);
  if (!template.ok) return template;
  const { texts, names } = template.value;
  const written = texts.join("");
  if (!/^[A-Za-z0-9_-]*$/.test(written) || written.length + names.length > maxAccount || text === "") {
    const help = "1 to 64 letters, digits, - and _: CI, or P_${job.project_id}";
    return refused("setting_invalid", "this must be an account's name", 0, text.length, help);
  }
  if (names.length > 0 || !isReservedAccount(text)) return parsed(text);
  const help = "name the account that your services are in";
  return refused("setting_invalid", "this account is no place for jobs", 0, text.length, help);
}

function checkVault(text: string, variables: readonly string[]): Parsed<string> {
  const template = parseTemplate(text, variables);
  if (!template.ok) return template;
  for (const part of splitOutside(text, "/")) {
    const literal = part.text.replace(/\$\{[^}]*\}/g, "x");
    if (/^(?!\.{1,2}$)[A-Za-z0-9_.-]+$/.test(literal)) continue;
    const at = Math.min(part.at, Math.max(0, text.length - 1));
    return refused(
      "setting_invalid",
      "this is not a path in a vault",
      at,
      part.text.length,
      "for example kv/data/shop/db",
    );
  }
  return parsed(text);
}
