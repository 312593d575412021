import { describe, expect, test } from "vitest";
import { awsProvider } from "./provider.ts";

const aws = awsProvider({ accounts: ["111122223333", "999988887777"] });
const issuer = { name: "aws", url: "https://x.tokens.sts.global.api.aws" };
const identity = (sub: unknown, account: unknown = "111122223333") =>
  aws.identity({ sub, "https://sts.amazonaws.com/": { aws_account: account } }, issuer);

test("a role is the same project whatever its path, and whichever way it proved itself", () => {
  const { project } = identity("arn:aws:iam::111122223333:role/ci/deep/shop-ci");
  expect(identity("arn:aws:iam::111122223333:role/shop-ci").project).toEqual(project);
  expect(identity("arn:aws:sts::111122223333:assumed-role/shop-ci/build-7").project).toEqual(project);
  expect(identity("arn:aws:iam::111122223333:user/shop-ci").project.id).not.toBe(project.id);
});

test("without a word of forks they are unknown", () => {
  expect(identity("arn:aws:iam::111122223333:role/shop-ci").fork).toBe("unknown");
});

describe("identity_refused:", () => {
  test.each([
    { what: "a principal of another account than the token's", sub: "arn:aws:iam::999988887777:role/shop-ci" },
    { what: "a principal of an account that is no number", sub: "arn:aws:iam::11112222333x:role/shop-ci" },
    { what: "the root user", sub: "arn:aws:iam::111122223333:root" },
    { what: "a federated user", sub: "arn:aws:sts::111122223333:federated-user/x" },
    { what: "a role without a name", sub: "arn:aws:iam::111122223333:role/" },
    { what: "a role with a line break", sub: "arn:aws:iam::111122223333:role/shop\nci" },
    { what: "a session without a name", sub: "arn:aws:sts::111122223333:assumed-role/shop-ci" },
    { what: "something behind an ARN", sub: "arn:aws:iam::111122223333:role/shop-ci x" },
    { what: "no ARN", sub: "shop-ci" },
    { what: "a list", sub: ["arn:aws:iam::111122223333:role/shop-ci"] },
  ])("$what", ({ sub }) => {
    expect(() => identity(sub)).toThrow(expect.objectContaining({ code: "identity_refused" }));
  });

  test.each([111122223333, "11112222333", "1111222233334", null, ["111122223333"]])("the account %j", (account) => {
    expect(() => identity("arn:aws:iam::111122223333:role/shop-ci", account)).toThrow(
      expect.objectContaining({ code: "identity_refused" }),
    );
  });
});
