import { beforeEach, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { isOperatorRecord, type OperatorRefused } from "../core/operator-record.ts";
import type { AuditEvent, AuditRecord } from "../core/record.ts";
import { SignInTable } from "./sign-in-table.ts";
import { SignIns, sha256 } from "./sign-ins.ts";

const hour = 3_600_000;
let now = 0;
let table: SignInTable;
let written: AuditEvent[];
let refused: OperatorRefused[];
let failing: boolean;
/** What a record waits for before it is durable. */
let held: Promise<void>;
let removed: number;

beforeEach(() => {
  now = 1_800_000_000_000;
  [table, written, refused, failing, removed] = [new SignInTable(), [], [], false, 0];
  held = Promise.resolve();
  const made = { token_hash: sha256("wlb_first"), expires_at: now + 24 * hour };
  table.apply({ kind: "operator.bootstrap_made", data: made });
});

function signIns(basis = "one", groups: readonly string[] = ["ops"]): SignIns {
  return new SignIns({
    clock: { now: () => now },
    recorder: {
      append: async (events) => {
        if (failing) throw new WayleaveError("journal_unavailable", "the disk is full");
        await held;
        written.push(...events);
        return events as readonly AuditRecord[];
      },
    },
    table,
    rules: { type: "oidc", groupsClaim: "groups", roles: { viewer: [], auditor: [], approver: [], operator: ["ops"] } },
    basis,
    sessionMs: 8 * hour,
    verify: async (token) => {
      if (token === "bad") throw new WayleaveError("id_token_refused", "it is bad");
      const claims = { sub: "u1", groups, name: "Dana" };
      return { iss: "https://id.example", sub: "u1", claims, replayKey: sha256(token), uselessAt: now + 600_000 };
    },
    onRefused: (data) => refused.push(data),
    bootstrapEnded: async () => void removed++,
  });
}

const asker = { jkt: "key-1", from: "10.0.0.7" };
const code = (work: Promise<unknown>) =>
  work.then(
    () => "done",
    (error: unknown) => (error as WayleaveError).code,
  );

function callerCode(of: SignIns, token: string, jkt = "key-1"): string {
  try {
    return of.caller(token, jkt).sign_in.slice(0, 4);
  } catch (error) {
    return (error as WayleaveError).code;
  }
}

/** What a restart has: a fold over what is on disk. */
function replayed(): SignInTable {
  const fresh = new SignInTable();
  for (const each of written) if (isOperatorRecord(each)) fresh.apply(each);
  return fresh;
}

test("a sign-in is good for its key, its hours and its configuration; nothing else", async () => {
  const of = signIns();
  const { token, signIn } = await of.byIdToken("t1", asker);
  expect(signIn).toMatchObject({ roles: ["operator"], from: "10.0.0.7", expires_at: now + 8 * hour });
  expect(callerCode(of, token)).toBe("sgn_");
  expect(callerCode(of, token, "key-2")).toBe("sign_in_required");
  expect(callerCode(of, `${token}x`)).toBe("sign_in_required");
  expect(callerCode(signIns("two"), token)).toBe("sign_in_required");
  expect(signIns("two").list()).toEqual([]);
  now += 8 * hour;
  expect(callerCode(of, token)).toBe("sign_in_required");
  expect(of.list()).toEqual([]);
});

test("nothing secret is recorded", async () => {
  const { token } = await signIns().byIdToken("t1", asker);
  expect(JSON.stringify(written)).not.toContain(token);
  expect(JSON.stringify(written)).not.toContain("t1");
});

test("one ID token opens one sign-in, also when it is sent twice at once, and after a restart", async () => {
  const of = signIns();
  const both = await Promise.all([code(of.byIdToken("t1", asker)), code(of.byIdToken("t1", asker))]);
  expect(both.toSorted()).toEqual(["done", "id_token_refused"]);
  table = replayed();
  expect(await code(signIns().byIdToken("t1", asker))).toBe("id_token_refused");
  expect(refused.at(-1)).toMatchObject({ who: { sub: "u1" }, action: "login", from: "10.0.0.7" });
});

test("a clock that goes forward and back makes no ID token good again", async () => {
  const of = signIns();
  expect(await code(of.byIdToken("t1", asker))).toBe("done");
  const then = now;
  table.prune(then + hour);
  expect(await code(of.byIdToken("t1", asker))).toBe("id_token_refused");
  now = then + 1; // t2 is younger than all that was forgotten
  expect(await code(of.byIdToken("t2", asker))).toBe("done");
});

test("what cannot be recorded did not happen; the token may be tried again", async () => {
  const of = signIns();
  failing = true;
  expect(await code(of.byIdToken("t1", asker))).toBe("journal_unavailable");
  expect(of.list()).toEqual([]);
  expect(table.bootstrapOver).toBe(false);
  failing = false;
  expect(await code(of.byIdToken("t1", asker))).toBe("done");
});

test.each([
  { what: "a refused token", token: "bad", groups: ["ops"], told: "id_token_refused", who: false },
  { what: "no role", token: "t1", groups: ["staff"], told: "role_missing", who: true },
])("$what opens nothing and ends nothing, and is told", async ({ token, groups, told, who }) => {
  const of = signIns("one", groups);
  expect(await code(of.byIdToken(token, asker))).toBe(told);
  expect(refused).toMatchObject([{ code: told, action: "login" }]);
  expect(refused[0]?.who !== undefined).toBe(who);
  expect([written, table.bootstrapOver]).toEqual([[], false]);
});

test("the bootstrap token makes operators of an hour, until its day is over", async () => {
  const of = signIns();
  const { token, signIn } = await of.byBootstrap("wlb_first", asker);
  expect(signIn).toMatchObject({ who: { by: "bootstrap" }, roles: ["operator"], expires_at: now + hour });
  expect(await code(of.byBootstrap("wlb_other", asker))).toBe("bootstrap_refused");
  now += 23.5 * hour;
  expect(callerCode(of, token)).toBe("sign_in_required");
  expect((await of.byBootstrap("wlb_first", asker)).signIn.expires_at).toBe(now + hour / 2);
  now += hour / 2;
  expect(await code(of.byBootstrap("wlb_first", asker))).toBe("bootstrap_refused");
});

test("the first person ends the bootstrap token and what it opened, for ever", async () => {
  const of = signIns();
  const { token } = await of.byBootstrap("wlb_first", asker);
  await of.byIdToken("t1", asker);
  expect(removed).toBe(1);
  expect(callerCode(of, token)).toBe("sign_in_required");
  expect(await code(of.byBootstrap("wlb_first", asker))).toBe("bootstrap_refused");
  await of.byIdToken("t2", asker);
  expect(written.filter(({ kind }) => kind === "operator.bootstrap_ended")).toHaveLength(1);
  table = replayed();
  expect(callerCode(signIns(), token)).toBe("sign_in_required");
  expect(await code(signIns().byBootstrap("wlb_first", asker))).toBe("bootstrap_refused");
});

test("a bootstrap sign-in on its way when the first person signs in is worth nothing", async () => {
  const of = signIns();
  let go = () => {};
  held = new Promise((resolve) => {
    go = resolve;
  });
  const bootstrap = of.byBootstrap("wlb_first", asker);
  held = Promise.resolve();
  await of.byIdToken("t1", asker);
  go();
  const late = await bootstrap;
  expect(callerCode(of, late.token)).toBe("sign_in_required");
});

test("an ended sign-in stays ended", async () => {
  const of = signIns();
  const { token, signIn } = await of.byIdToken("t1", asker);
  await of.end(signIn.sign_in, { by: "local" });
  expect(written.at(-1)?.data).toMatchObject({ sign_in: signIn.sign_in, by: "local operator" });
  expect(callerCode(of, token)).toBe("sign_in_required");
  expect(await code(of.end(signIn.sign_in, { by: "local" }))).toBe("not_found");
  table = replayed();
  expect(callerCode(signIns(), token)).toBe("sign_in_required");
});
