import fc from "fast-check";
import { beforeEach, describe, expect, test } from "vitest";
import type { NatsAccountPushed } from "../../core/nats-record.ts";
import { jobAccountClaims, type NatsClaims } from "./account-claims.ts";
import { type Accounts, createAccounts } from "./accounts.ts";

/** As a signer does it: the same arguments, the same text. */
const sign = (claims: NatsClaims, iat: number) =>
  `eyJ.${Buffer.from(JSON.stringify({ ...claims, iat })).toString("base64url")}.sig`;
const read = (jwt: string | undefined): NatsClaims & { iat: number } =>
  JSON.parse(Buffer.from((jwt ?? "").split(".")[1] ?? "", "base64url").toString());

/** 0 where a server has none, or something else. */
function issuedAt(jwt: string | undefined): number {
  try {
    return read(jwt).iat;
  } catch {
    return 0;
  }
}

/** Servers that all do the same, unless `has` says otherwise. */
let has: Map<string, string>[];
let pushes: string[];
/** Pushes that a server would not have taken for the newer of two. */
let notLater: string[];
let records: NatsAccountPushed[];
let signingKeys: string[];
let failing: { push?: Error; partly?: Error; record?: Error; describe?: Error; lookUp?: Error };
let held: Promise<void> | undefined;
let nowMs: number;
let accounts: Accounts;

const keyOf = (name: string) => `A_${name}`;

function start(): Accounts {
  return createAccounts({
    gateway: "bus",
    sign,
    now: () => nowMs,
    servers: {
      async push(jwt) {
        if (failing.push) throw failing.push;
        pushes.push(jwt);
        const { sub, iat } = read(jwt);
        for (const server of has) if (issuedAt(server.get(sub)) >= iat) notLater.push(jwt);
        if (failing.partly) has[0]?.set(read(jwt).sub, jwt);
        if (failing.partly || has.length === 0) throw failing.partly ?? new Error("no server is there");
        await held;
        for (const server of has) server.set(read(jwt).sub, jwt);
      },
      async lookUp(key) {
        if (failing.lookUp) throw failing.lookUp;
        return has.map((server) => server.get(key) ?? "");
      },
    },
    async describe(name) {
      if (failing.describe) throw failing.describe;
      if (name === "BAD") throw new Error("no such account");
      return jobAccountClaims({ key: keyOf(name), name, signingKeys, jetstream: {} });
    },
    async record(data) {
      if (failing.record) throw failing.record;
      records.push(data);
    },
  });
}

/** Pushes reach the servers and are not answered until `release`. */
function holdPushes(): { readonly reached: Promise<void>; release(): void } {
  const gate = Promise.withResolvers<void>();
  held = gate.promise;
  const reached = async () => {
    while (pushes.length === 0) await turns();
  };
  return { reached: Promise.resolve().then(reached), release: gate.resolve };
}

/** Everything that can happen by itself has happened. */
const turns = () => new Promise((resolve) => setImmediate(resolve));

beforeEach(() => {
  has = [new Map(), new Map()];
  pushes = [];
  notLater = [];
  records = [];
  signingKeys = ["A_1"];
  failing = {};
  held = undefined;
  nowMs = 1_790_000_000_500;
  accounts = start();
});

describe("an account", () => {
  test("is pushed and recorded before its first job is let in", async () => {
    await accounts.ensure("CI");
    expect(read(pushes[0])).toMatchObject({ sub: "A_CI", name: "CI", iat: 1_790_000_000 });
    expect(records).toEqual([{ gateway: "bus", account: "CI", key: "A_CI", signing_keys: ["A_1"] }]);
  });

  test("lets nobody in while it is being pushed", async () => {
    const hold = holdPushes();
    const letIn: number[] = [];
    const all = [1, 2, 3].map((job) => accounts.ensure("CI").then(() => letIn.push(job)));
    await hold.reached;
    const late = accounts.ensure("CI").then(() => letIn.push(4));
    await turns();
    expect(letIn).toEqual([]);
    hold.release();
    await Promise.all([...all, late]);
    expect(letIn).toEqual([1, 2, 3, 4]);
  });

  test("costs nothing once it is there", async () => {
    await accounts.ensure("CI");
    failing = { describe: new Error("not asked"), lookUp: new Error("not asked") };
    await expect(accounts.ensure("CI")).resolves.toBeUndefined();
  });

  test("is pushed once for many jobs at once", async () => {
    await Promise.all(Array.from({ length: 50 }, () => accounts.ensure("CI")));
    await accounts.ensure("CI");
    expect(pushes).toHaveLength(1);
    expect(records).toHaveLength(1);
  });

  test("is not pushed again by a broker that starts anew", async () => {
    await accounts.ensure("CI");
    nowMs += 60_000;
    accounts = start();
    await accounts.ensure("CI");
    expect(pushes).toHaveLength(1);
  });

  test("is pushed again where one server lost it, or has another", async () => {
    await accounts.ensure("CI");
    has[1]?.clear();
    accounts = start();
    await accounts.ensure("CI");
    expect(pushes).toHaveLength(2);
    has[1]?.set("A_CI", "eyJ.garbage.x");
    accounts = start();
    await accounts.ensure("CI");
    expect(pushes).toHaveLength(3);
  });

  test("is pushed again by a broker that starts anew after a change", async () => {
    await accounts.ensure("CI");
    signingKeys = ["A_1", "A_2"];
    accounts = start();
    await accounts.ensure("CI");
    expect(pushes.map((jwt) => read(jwt).nats.signing_keys)).toEqual([["A_1"], ["A_1", "A_2"]]);
  });

  test("whose claims are in another order of time is still later than the one it replaces", async () => {
    await accounts.ensure("CI");
    nowMs -= 3_600_000;
    signingKeys = ["A_2"];
    await accounts.refresh(["CI"]);
    expect(pushes.map((jwt) => read(jwt).iat)).toEqual([1_790_000_000, 1_790_000_001]);
  });
});

describe("a change", () => {
  test("is pushed to accounts that were ensured and to those that were not", async () => {
    await accounts.ensure("CI");
    signingKeys = ["A_1", "A_2"];
    expect(await accounts.refresh(["CI", "OLD"])).toEqual([]);
    expect(pushes.map((jwt) => [read(jwt).name, read(jwt).nats.signing_keys])).toEqual([
      ["CI", ["A_1"]],
      ["CI", ["A_1", "A_2"]],
      ["OLD", ["A_1", "A_2"]],
    ]);
    expect(records.at(-1)).toMatchObject({ account: "OLD", signing_keys: ["A_1", "A_2"] });
  });

  test("that is none pushes and records nothing", async () => {
    await accounts.ensure("CI");
    await accounts.refresh(["CI"]);
    expect([pushes.length, records.length]).toEqual([1, 1]);
  });

  test("that comes while the account is being pushed is pushed after it", async () => {
    const first = accounts.ensure("CI");
    signingKeys = ["A_1", "A_2"];
    await Promise.all([first, accounts.refresh(["CI"])]);
    expect(read(pushes.at(-1)).nats.signing_keys).toEqual(["A_1", "A_2"]);
    expect(has.map((server) => read(server.get("A_CI")).nats.signing_keys)).toEqual([signingKeys, signingKeys]);
  });

  test("never overtakes the one before it", async () => {
    const hold = holdPushes();
    const first = accounts.ensure("CI");
    await hold.reached;
    signingKeys = ["A_2"];
    const second = accounts.refresh(["CI"]);
    const third = accounts.ensure("CI");
    await turns();
    expect(pushes).toHaveLength(1);
    hold.release();
    await Promise.all([first, second, third]);
    expect(pushes.map((jwt) => read(jwt).nats.signing_keys)).toEqual([["A_1"], ["A_2"]]);
  });

  test("of servers is noticed once they are forgotten", async () => {
    await accounts.ensure("CI");
    has = [new Map()];
    await accounts.ensure("CI");
    expect(pushes).toHaveLength(1);
    accounts.forget();
    await accounts.ensure("CI");
    expect(pushes).toHaveLength(2);
  });

  test("of servers is noticed even where they are forgotten during a push", async () => {
    const hold = holdPushes();
    const first = accounts.ensure("CI");
    await hold.reached;
    accounts.forget();
    hold.release();
    await first;
    has = [new Map()];
    await accounts.ensure("CI");
    expect(pushes).toHaveLength(2);
  });
});

describe("no job is let in where", () => {
  test.each(["push", "lookUp", "describe", "record"] as const)(
    "%s fails, and the next one tries again",
    async (step) => {
      failing = { [step]: new Error(`${step} failed`) };
      await expect(accounts.ensure("CI")).rejects.toThrow(`${step} failed`);
      await expect(accounts.ensure("CI")).rejects.toThrow(`${step} failed`);
      failing = {};
      await accounts.ensure("CI");
      expect(records).toHaveLength(1);
      expect(has.every((server) => server.has("A_CI"))).toBe(true);
    },
  );

  test("the record fails after the push, and what was pushed is recorded by the next one without another push", async () => {
    failing = { record: new Error("full disk") };
    await expect(accounts.ensure("CI")).rejects.toThrow("full disk");
    failing = {};
    await accounts.ensure("CI");
    expect([pushes.length, records.length]).toEqual([1, 1]);
  });

  test("no server is there", async () => {
    has = [];
    await expect(accounts.ensure("CI")).rejects.toThrow("no server is there");
    expect(records).toEqual([]);
  });

  test("one server took it and another did not: both are given a later one", async () => {
    failing = { partly: new Error("one server is silent") };
    await expect(accounts.ensure("CI")).rejects.toThrow("silent");
    failing = {};
    await accounts.ensure("CI");
    expect(pushes.map((jwt) => read(jwt).iat)).toEqual([1_790_000_000, 1_790_000_001]);
    expect(has.map((server) => read(server.get("A_CI")).iat)).toEqual([1_790_000_001, 1_790_000_001]);
  });

  test("a change reached one server only, and was taken back: that server is given what the others have", async () => {
    await accounts.ensure("CI");
    signingKeys = ["A_2"];
    failing = { partly: new Error("one server is silent") };
    await accounts.refresh(["CI"]);
    signingKeys = ["A_1"];
    failing = {};
    await accounts.ensure("CI");
    expect(has.map((server) => read(server.get("A_CI")).nats.signing_keys)).toEqual([["A_1"], ["A_1"]]);
  });

  test("a refresh failed: it says which, goes on with the others, and leaves the failed one to the next job", async () => {
    await accounts.ensure("CI");
    signingKeys = ["A_2"];
    failing = { push: new Error("one server is silent") };
    const failed = await accounts.refresh(["CI", "OTHER"]);
    expect(failed.map(({ account }) => account)).toEqual(["CI", "OTHER"]);
    await expect(accounts.ensure("CI")).rejects.toThrow("silent");
    failing = {};
    await accounts.ensure("CI");
    expect(read(pushes.at(-1)).nats.signing_keys).toEqual(["A_2"]);
  });
});

test("one account's failure keeps no other out", async () => {
  const bad = accounts.ensure("BAD");
  await accounts.ensure("CI");
  await expect(bad).rejects.toThrow("no such account");
  expect(pushes.map((jwt) => read(jwt).name)).toEqual(["CI"]);
});

test("law: whatever happens in whatever order, who was let in finds the newest account at every server, each push later than what the server has", async () => {
  const step = fc.constantFrom(
    "ensure",
    "refresh",
    "rotate",
    "fail",
    "partly",
    "mend",
    "forget",
    "restart",
    "lose",
    "back",
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      has = [new Map(), new Map()];
      pushes = [];
      signingKeys = ["A_1"];
      failing = {};
      accounts = start();
      let changed = false;
      const actions: Record<string, () => unknown> = {
        refresh: async () => {
          await accounts.refresh(["CI"]);
          changed = false;
        },
        rotate: () => {
          signingKeys = [...signingKeys.slice(-2), `A_${signingKeys.at(-1)}`];
          changed = true;
        },
        fail: () => {
          failing = { push: new Error("away") };
        },
        partly: () => {
          failing = { partly: new Error("one server is silent") };
        },
        mend: () => {
          failing = {};
        },
        forget: () => accounts.forget(),
        restart: () => {
          accounts = start();
          changed = false;
        },
        // A server that lost its store is noticed by a restart of the broker, or once it is told to forget.
        lose: () => {
          has[0]?.clear();
          accounts.forget();
        },
        back: () => {
          nowMs -= 7_000;
        },
      };
      for (const each of steps) {
        await actions[each]?.();
        if (changed) await accounts.refresh(["CI"]);
        changed = false;
        const letIn = await accounts.ensure("CI").then(
          () => true,
          () => false,
        );
        expect(letIn || failing.push !== undefined || failing.partly !== undefined).toBe(true);
        if (!letIn) continue;
        for (const server of has) expect(read(server.get("A_CI")).nats.signing_keys).toEqual(signingKeys);
      }
      expect(notLater).toEqual([]);
    }),
    { numRuns: 200 },
  );
});
