import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { operatorRoles, type PeopleType } from "../core/person.ts";
import { type RoleRules, rolesOf } from "./roles.ts";

const admins = "0f1e2d3c-0000-4000-8000-00000000000a";

function rules(type: PeopleType, groupsClaim = "groups", operator: readonly string[] = ["admins", admins]): RoleRules {
  return { type, groupsClaim, roles: { viewer: ["staff"], auditor: [], approver: ["leads"], operator } };
}

function refusal(of: RoleRules, claims: Record<string, unknown>): { code: string; message: string } {
  try {
    return { code: `roles ${rolesOf(of, { sub: "u1", ...claims }).join()}`, message: "" };
  } catch (error) {
    if (error instanceof WayleaveError) return { code: error.code, message: error.message };
    throw error;
  }
}

const many = (count: number) => Array.from({ length: count }, (_, at) => (at === 0 ? "admins" : `g${at}`));

describe.each(["oidc", "okta", "entra", "gitlab"] as const)("%s", (type) => {
  const claim = type === "gitlab" ? "groups_direct" : "groups";

  test("groups give roles, each of those that are mapped", () => {
    expect(rolesOf(rules(type, claim), { [claim]: ["leads", "other", "staff"] })).toEqual(["viewer", "approver"]);
  });

  test.each([
    { what: "no claim", claims: {}, code: "groups_incomplete" },
    { what: "null", claims: { [claim]: null }, code: "groups_incomplete" },
    { what: "one text", claims: { [claim]: "admins" }, code: "groups_incomplete" },
    { what: "a text with commas", claims: { [claim]: "staff,admins" }, code: "groups_incomplete" },
    { what: "a map", claims: { [claim]: { admins: true } }, code: "groups_incomplete" },
    { what: "something else among the texts", claims: { [claim]: ["admins", 7] }, code: "groups_incomplete" },
    { what: "a list in the list", claims: { [claim]: [["admins"]] }, code: "groups_incomplete" },
    { what: "thousands", claims: { [claim]: many(1001) }, code: "groups_incomplete" },
    { what: "a link instead", claims: { _claim_names: { [claim]: "src1" } }, code: "groups_incomplete" },
    {
      what: "a link beside",
      claims: { [claim]: ["admins"], _claim_names: { [claim]: "s" } },
      code: "groups_incomplete",
    },
    { what: "none", claims: { [claim]: [] }, code: "role_missing" },
    { what: "another case", claims: { [claim]: ["Admins"] }, code: "role_missing" },
    { what: "a group below", claims: { [claim]: ["admins/sub"] }, code: "role_missing" },
    { what: "a name that begins so", claims: { [claim]: ["admins-evil"] }, code: "role_missing" },
    { what: "a space more", claims: { [claim]: ["admins "] }, code: "role_missing" },
    { what: "an empty name", claims: { [claim]: [""] }, code: "role_missing" },
    { what: "the subject named so", claims: { [claim]: ["x"], sub: "admins" }, code: "role_missing" },
    { what: "the address named so", claims: { [claim]: ["x"], email: "admins" }, code: "role_missing" },
  ])("no role by $what: $code", ({ claims, code }) => {
    expect(refusal(rules(type, claim), claims).code).toBe(code);
  });
});

test.each([
  { groups: 99, code: "roles operator" },
  { groups: 100, code: "groups_incomplete" },
  { groups: 180, code: "groups_incomplete" },
])("okta cuts lists near 100 in silence: $groups groups, $code", ({ groups, code }) => {
  const found = refusal(rules("okta"), { groups: many(groups) });
  expect(found.code).toBe(code);
  if (code === "groups_incomplete") expect(found.message).toMatch(/narrow the claim's filter/);
});

test.each([
  { what: "_claim_names", claims: { _claim_names: { groups: "src1" }, _claim_sources: { src1: {} } } },
  { what: "hasgroups", claims: { hasgroups: true } },
  { what: "hasgroups as a text", claims: { hasgroups: "true", groups: ["admins"] } },
])("entra's overage by $what is refused with both ways out", ({ claims }) => {
  const { code, message } = refusal(rules("entra"), claims);
  expect(code).toBe("groups_incomplete");
  expect(message).toMatch(/Groups assigned to the application/);
  expect(message).toMatch(/groups_claim: roles/);
});

test("entra's app roles know no overage of groups", () => {
  const claims = { roles: ["admins"], hasgroups: true, _claim_names: { groups: "src1" } };
  expect(rolesOf(rules("entra", "roles"), claims)).toEqual(["operator"]);
});

test("google has no groups: who is listed by sub, and nobody else", () => {
  const of = rules("google", "sub", ["109876543210"]);
  expect(rolesOf(of, { sub: "109876543210" })).toEqual(["operator"]);
  expect(refusal(of, { sub: "10987654321" }).code).toBe("role_missing");
  expect(refusal(of, { sub: "1", groups: ["109876543210"] })).toMatchObject({ message: /with this sub "1"/ });
});

test("a claim of JavaScript's own is no claim", () => {
  expect(refusal(rules("oidc", "constructor"), {}).code).toBe("groups_incomplete");
});

test("law: no group, no role; and more groups never take a role away", () => {
  const group = fc.constantFrom("admins", "leads", "staff", "x", "y", "ADMINS");
  fc.assert(
    fc.property(fc.array(group, { maxLength: 20 }), fc.array(group, { maxLength: 20 }), (some, more) => {
      const get = (groups: readonly string[]) => {
        const { code } = refusal(rules("oidc"), { groups });
        return new Set(operatorRoles.filter((role) => code.startsWith("roles") && code.includes(role)));
      };
      const [few, many] = [get(some), get([...some, ...more])];
      expect(few.has("operator")).toBe(some.includes("admins"));
      return few.isSubsetOf(many);
    }),
  );
});
