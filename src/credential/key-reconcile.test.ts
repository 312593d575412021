import { expect, test } from "vitest";
import type { StoredKey } from "./key-file.ts";
import type { KeyLife, KeyState } from "./key-life.ts";
import { reconcileKeys } from "./key-reconcile.ts";

const now = 1_000_000;
const jwk = { kty: "EC", kid: "x" };
const key = (kid: string, state: KeyState, more: Partial<StoredKey> = {}): StoredKey => ({
  kid,
  state,
  createdAt: 1,
  lifeMs: 0,
  ...(state === "retired" || state === "revoked" ? {} : { jwk }),
  ...more,
});
const said = (kid: string, state: KeyState, more: Partial<KeyLife> = {}): KeyLife => ({
  kid,
  state,
  createdAt: 1,
  lifeMs: 0,
  ...more,
});
const reconcile = (stored: readonly StoredKey[], history: readonly KeyLife[]) => {
  const found = reconcileKeys({ class: "assertion", stored, history, now, windowMs: 100, lifeMs: 30 });
  return {
    keys: found.keys.map(({ kid, state }) => `${kid} ${state}`),
    events: found.events.map(({ kind, data }) => `${kind} ${"kid" in data ? data.kid : ""}`),
    lost: found.lost,
    found,
  };
};

test.each<{ why: string; stored: StoredKey[]; history: KeyLife[]; keys: string[]; events: string[]; lost?: string[] }>([
  { why: "nothing anywhere", stored: [], history: [], keys: [], events: [] },
  {
    why: "a file that the journal has never heard of is believed, and recorded",
    stored: [key("a", "retiring"), key("b", "active"), key("c", "prepared")],
    history: [],
    keys: ["a retiring", "b active", "c prepared"],
    events: ["key.prepared c", "key.activated b"],
  },
  {
    why: "a staged key that no record uses is dropped",
    stored: [key("a", "active"), key("b", "staged"), key("c", "staged")],
    history: [said("a", "active"), said("b", "staged")],
    keys: ["a active"],
    events: [],
  },
  {
    why: "a staged key that a record uses is used",
    stored: [key("a", "active"), key("b", "staged")],
    history: [said("a", "retiring"), said("b", "active")],
    keys: ["a retiring", "b active"],
    events: [],
  },
  {
    why: "a revocation counts, whichever knows of it",
    stored: [key("a", "active"), key("b", "revoked"), key("c", "active", { activatedAt: 5 })],
    history: [said("a", "revoked"), said("b", "active"), said("c", "active")],
    keys: ["a revoked", "b revoked", "c active"],
    events: ["key.revoked b"],
  },
  {
    why: "of keys that the file lost, those in use are revoked and the others stay what they were",
    stored: [key("a", "active")],
    history: [
      said("a", "retired"),
      said("b", "active"),
      said("c", "prepared"),
      said("d", "revoked"),
      said("e", "staged"),
    ],
    keys: ["a retired", "b revoked", "c revoked", "d revoked"],
    events: ["key.revoked b", "key.revoked c"],
    lost: ["b", "c"],
  },
  {
    why: "of two that claim to sign, the later one does",
    stored: [key("a", "active", { activatedAt: 7 }), key("b", "active", { activatedAt: 9 }), key("c", "active")],
    history: [],
    keys: ["a retiring", "b active", "c retiring"],
    events: ["key.activated b"],
  },
])("$why", ({ stored, history, keys, events, lost = [] }) => {
  const found = reconcile(stored, history);
  expect({ keys: found.keys, events: found.events, lost: found.lost }).toEqual({ keys, events, lost });
});

test("what ends is recorded before what begins", () => {
  const { events } = reconcile([key("a", "active"), key("b", "prepared"), key("c", "revoked")], [said("c", "active")]);
  expect(events).toEqual(["key.revoked c", "key.prepared b", "key.activated a"]);
});

test("no private key of a key that is over is kept", () => {
  const { found } = reconcile([key("a", "active"), key("b", "retiring")], [said("a", "revoked"), said("b", "retired")]);
  expect(found.keys.some((each) => "jwk" in each)).toBe(false);
});

test("a window that was made longer counts from when the key was published", () => {
  const { found } = reconcile(
    [
      key("a", "prepared", { publishedAt: now - 60, usableAt: now - 10 }),
      key("b", "prepared", { publishedAt: now - 60, usableAt: now + 900 }),
    ],
    [],
  );
  expect(found.keys.map(({ usableAt }) => usableAt)).toEqual([now + 40, now + 900]);
});
