import { expect, test } from "vitest";
import { actorText, covers, type OperatorRole, operatorRoles } from "./person.ts";

const stands: Readonly<Record<OperatorRole, readonly OperatorRole[]>> = {
  viewer: ["viewer"],
  auditor: ["viewer", "auditor"],
  approver: ["viewer", "approver"],
  operator: ["viewer", "auditor", "operator"],
};

test.each(operatorRoles)("%s stands for what is listed, and nothing else", (role) => {
  expect(operatorRoles.filter((needed) => covers([role], needed))).toEqual(stands[role]);
});

test("no role stands for none", () => {
  expect(operatorRoles.filter((needed) => covers([], needed))).toEqual([]);
});

test("a person is named with issuer and subject, whatever the name says", () => {
  const person = { by: "person", iss: "https://id.example", sub: "u1" } as const;
  expect(actorText({ ...person, name: "local operator" })).toBe("local operator (u1 of https://id.example)");
  expect(actorText(person)).toBe("u1 (u1 of https://id.example)");
});
