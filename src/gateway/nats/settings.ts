import { WayleaveError } from "../../core/errors.ts";
import type { PolicyModel, TargetModel } from "../../policy/model.ts";
import { isReservedAccount } from "../../policy/nats-account.ts";
import { isTemplate } from "../../policy/parse-template.ts";
import type { AccountKeys, JetStreamLimits } from "./account-claims.ts";

/** The nats-servers behind one gateway of the inventory, as `render` needs them. */
export interface NatsServerSettings {
  readonly name: string;
  /** Targets the gateway fronts. */
  readonly targets: readonly string[];
  readonly servers: readonly { readonly host: string; readonly port: number; readonly tls: boolean }[];
  readonly authentication: "operator" | "config";
  /** Jobs may connect to the servers themselves. */
  readonly direct: boolean;
  /** What each account that jobs work in may keep in streams; false: no streams. Default: as much as the server has. */
  readonly jetstream?: JetStreamLimits | false;
  /** Where a server keeps accounts and streams: absolute, on its machine. */
  readonly dataDirectory?: string;
  /** Certificate it serves TLS with: absolute paths, on its machine. */
  readonly certificate?: { readonly certFile: string; readonly keyFile: string };
}

/** Who the servers trust: public keys and signed JWTs, nothing that would have to be kept secret. */
export interface NatsTrust {
  /** Of operator mode. */
  readonly jwts: {
    readonly operator: string;
    readonly system: string;
    readonly auth: string;
    readonly sentinel: string;
  };
  /** Broker's users of the system account, `U…`. */
  readonly system: { readonly key: string; readonly users: readonly string[] };
  /** Broker's users that answer the callout, `U…`, and the key its requests are encrypted to, `X…`. */
  readonly auth: { readonly key: string; readonly users: readonly string[]; readonly xkey: string };
  /** Of config mode: who signs what the callout answers, `A…`. */
  readonly issuer: string;
  /** By which gateways prove that a connection comes through them: public nkeys of any type. */
  readonly proxies: readonly string[];
  /** Keys of an account that jobs work in, and its JWT. */
  account(name: string): AccountKeys & { readonly jwt: string };
}

export interface RenderInput {
  readonly gateway: NatsServerSettings;
  readonly policy: PolicyModel;
  readonly trust: NatsTrust;
  /** Targets that the inventory's other NATS gateways front. */
  readonly frontedElsewhere?: readonly string[];
  /** Pieces for an existing configuration, not a whole one. */
  readonly fragments?: boolean;
}

/** The settings, checked, with every default filled in. */
export interface CheckedSettings extends Omit<Required<NatsServerSettings>, "targets" | "certificate"> {
  readonly certificate: NatsServerSettings["certificate"];
  readonly targets: readonly TargetModel[];
  /** Accounts that policy names outright, sorted, each once. */
  readonly accounts: readonly string[];
  readonly policy: PolicyModel;
  readonly trust: NatsTrust;
  readonly unfronted: readonly TargetModel[];
  readonly fragments: boolean;
}

/** Wayleave's own accounts: policy can place no job there. */
export const systemAccountName = "SYS";
export const authAccountName = "AUTH";

type Refuse = (what: string) => never;

/**
 * Checks what the renderer relies on. Throws `render_refused`, naming the gateway, the one thing that is wrong, and the
 * place in policy.
 */
export function checkSettings(input: RenderInput): CheckedSettings {
  const { gateway, policy, trust } = input;
  const refuse: Refuse = (what) => {
    throw new WayleaveError("render_refused", `Gateway ${gateway.name}: ${what}`);
  };
  if (gateway.targets.length === 0) refuse("it fronts no target; list them under targets.");
  if (gateway.servers.length === 0) refuse("it has no server; list them under servers.");
  const targets = [...new Set(gateway.targets)].toSorted().map((name) => fronted(name, policy, refuse));
  for (const target of targets) checkAccount(target, gateway, refuse);
  if (trust.proxies.length === 0 && !gateway.direct) {
    refuse("it has no key to prove itself by; let the broker that runs it render.");
  }
  const dataDirectory = gateway.dataDirectory ?? "/var/lib/nats";
  const { certificate } = gateway;
  for (const path of [dataDirectory, ...(certificate ? [certificate.certFile, certificate.keyFile] : [])]) {
    if (!path.startsWith("/")) refuse(`${JSON.stringify(path)} must be an absolute path on the server's machine.`);
  }
  const elsewhere = new Set(input.frontedElsewhere);
  return {
    ...gateway,
    jetstream: gateway.jetstream ?? {},
    dataDirectory: dataDirectory.replace(/(?<=.)\/+$/, ""),
    certificate,
    targets,
    accounts: namedAccounts(gateway.targets, policy),
    policy,
    trust,
    unfronted: policy.targets
      .filter((target) => target.kind === "nats" && !targets.includes(target) && !elsewhere.has(target.name))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1)),
    fragments: input.fragments === true,
  };
}

/** Accounts that policy names outright for these targets, sorted, each once: they can be made before a job comes. */
export function namedAccounts(targets: readonly string[], policy: PolicyModel): readonly string[] {
  const found = policy.targets.filter(({ kind, name }) => kind === "nats" && targets.includes(name)).map(accountOf);
  return [...new Set(found.filter((account) => !isTemplate(account)))].toSorted();
}

/** The account as policy writes it, templates unfilled. */
export function accountOf({ settings }: TargetModel): string {
  return String(settings.account ?? "");
}

export const at = ({ place }: Pick<TargetModel, "place">): string => `${place.file}:${place.line}`;

function fronted(asked: string, { targets }: PolicyModel, refuse: Refuse): TargetModel {
  const found = targets.find(({ name }) => name === asked);
  if (found === undefined) return refuse(`policy has no target ${JSON.stringify(asked)}; correct targets.`);
  if (found.kind === "nats") return found;
  return refuse(
    `target ${asked} (${at(found)}) is of kind ${found.kind}, and NATS can front only nats; take it out of targets.`,
  );
}

function checkAccount(target: TargetModel, { authentication }: NatsServerSettings, refuse: Refuse): void {
  const account = accountOf(target);
  const named = `target ${target.name} (${at(target)})`;
  if (isTemplate(account)) {
    if (authentication === "operator") return;
    refuse(
      `${named} has an account by template, ${account}, and a server in config mode knows only the accounts of its file; say authentication: operator, or name the account outright.`,
    );
  }
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(account)) refuse(`${named} has no account that NATS could have; correct account.`);
  if (isReservedAccount(account)) {
    refuse(`${named} is in account ${account}, which is no place for jobs; name another.`);
  }
}
