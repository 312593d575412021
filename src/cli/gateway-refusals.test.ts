import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WayleaveError } from "../core/errors.ts";
import { Input } from "./command.ts";
import type { RefusalsDocument } from "./gateway-agent.ts";
import { gatewayFollow } from "./gateway-follow.ts";
import { followRefusals } from "./gateway-follow-loops.ts";
import { fakeIo } from "./job/command-io.fake.ts";

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "wayleave-refusals-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const document = (version: string): RefusalsDocument => ({
  version_info: version,
  type_url: "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig",
  resources: [{ name: "wayleave_refusals/41c0aa", version }],
});

describe("the refusals of an Envoy beside", () => {
  async function follow(answers: readonly (RefusalsDocument | undefined | Error)[], before?: string) {
    const path = join(folder(), "new", "wayleave-refusals.json");
    const asked: string[] = [];
    const stop = new AbortController();
    const agent = {
      send: async () => ({ taken: 0, repeated: 0, refused: 0, upto: 0 }),
      async refusals(names: readonly string[], version: string) {
        const answer = answers[asked.length];
        asked.push(`${names.join()} ${version}`);
        if (asked.length >= answers.length) stop.abort();
        if (answer instanceof Error) throw answer;
        return answer;
      },
    };
    const io = { ...fakeIo(), pause: async () => new Promise<void>(setImmediate) };
    const done = followRefusals({ io, agent, signal: stop.signal }, { path, policy: "41c0aa" });
    if (before !== undefined) writeFileSync(path, before);
    await done;
    return { asked, text: readFileSync(path, "utf8"), err: io.err() };
  }

  test("are written whole, and asked for by the version that was written", async () => {
    const { asked, text } = await follow([document("1"), undefined, document("2")]);
    expect(asked).toEqual(["", "1", "1"].map((version) => `wayleave_refusals/41c0aa ${version}`));
    expect(JSON.parse(text)).toMatchObject({ version_info: "2", resources: [{ version: "2" }] });
  });

  test("stay as they are while the broker is away: they end by their own time", async () => {
    const away = new WayleaveError("broker_unreachable", "no answer");
    const { text, err } = await follow([away, away], "what was there");
    expect(text).toBe("what was there");
    expect(err).toContain("refusals end by their own time");
  });

  test("of a gateway that is refused stop the agent", async () => {
    await expect(follow([new WayleaveError("gateway_unauthenticated", "wrong secret")])).rejects.toMatchObject({
      code: "gateway_unauthenticated",
    });
  });
});

describe("wayleave gateway follow", () => {
  const secret = "a-secret-of-this-test-only";

  test.each([
    { why: "no gateway", options: {}, says: "--gateway" },
    { why: "a URL that is none", options: { gateway: "edge-1", broker: "nonsense" }, says: "--broker" },
    {
      why: "a secret that is not there",
      options: { gateway: "edge-1", broker: "http://b", secretFile: "none" },
      says: "--secret-file",
    },
    {
      why: "nothing to follow",
      options: { gateway: "edge-1", broker: "http://b", secretFile: "secret" },
      says: "--log",
    },
    {
      why: "refusals of no policy",
      options: { gateway: "edge-1", broker: "http://b", secretFile: "secret", refusals: "." },
      says: "--policy",
    },
  ])("refuses $why", async ({ options, says }) => {
    const io = fakeIo({}, folder());
    writeFileSync(join(io.cwd, "secret"), secret);
    const run = gatewayFollow.run(io, new Input([], options));
    await expect(run).rejects.toMatchObject({ code: "invalid_request", message: expect.stringContaining(says) });
    await expect(run).rejects.not.toMatchObject({ message: expect.stringContaining(secret) });
  });
});
