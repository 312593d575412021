import { expect, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { projectIds } from "./project-ids.ts";

const first = {
  pin: (issuer: string, path: string) => (`${issuer}/${path}` === "gitlab/acme/shop" ? "1042" : undefined),
};
const asked = (projectId?: (path: string) => Promise<string | undefined>) =>
  projectIds([{ name: "gitlab", ...(projectId === undefined ? {} : { projectId }) }], first);
const project = "gitlab/acme/shop";

test("an id is the API's, where its first job had the same", async () => {
  expect(await asked(async () => "1042")(project)).toEqual({ project, id: "1042", from: "api" });
  const other = "gitlab/acme/new/deep";
  expect(await asked(async (path) => `id of ${path}`)(other)).toEqual({
    project: other,
    id: "id of acme/new/deep",
    from: "api",
  });
});

test("without a credential it is that of the first job", async () => {
  expect(await asked()(project)).toEqual({ project, id: "1042", from: "first job" });
});

test.each([
  {
    what: "the path changed hands",
    api: async () => "2000",
    says: /it was 1042 when its first job came here, and is 2000 now/,
    id: undefined,
  },
  {
    what: "the credential sees nothing",
    api: async () => undefined,
    says: /shows no project of this path/,
    id: "1042",
  },
  {
    what: "the API is away",
    api: async () => {
      throw new WayleaveError("ci_api_unreachable", "GitLab's API gave no answer.");
    },
    says: /gave no answer/,
    id: "1042",
  },
])("where $what, that is said", async ({ api, says, id }) => {
  const found = await asked(api)(project);
  expect([found.id, found.problem]).toEqual([id, expect.stringMatching(says)]);
});

test.each([
  { wanted: "gitlab/acme/other", says: /no API credential, and no job of it has come yet/ },
  { wanted: "github/acme/shop", says: /no issuer is called github/ },
  { wanted: "gitlab", says: /no API credential/ },
])("of $wanted nothing is known, and why is said", async ({ wanted, says }) => {
  const { id, problem } = await asked()(wanted);
  expect([id, problem]).toEqual([undefined, expect.stringMatching(says)]);
});
