import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Input } from "./command.ts";
import { runExec } from "./exec.ts";
import type { FakeBroker, Seen } from "./job/broker.fake.ts";
import { type FakeIo, fakeIo } from "./job/command-io.fake.ts";
import { runCommand } from "./job/run-command.ts";

/** A GitLab job whose identity token is for this broker. */
export function jobIo(broker: FakeBroker, env: Readonly<Record<string, string>> = {}, folder?: string): FakeIo {
  const payload = Buffer.from(JSON.stringify({ aud: broker.url })).toString("base64url");
  return fakeIo({ WAYLEAVE_ID_TOKEN: `e30.${payload}.sig`, ...env }, folder);
}

/** `wayleave exec` with a real command. */
export function run(
  io: FakeIo,
  command: readonly string[],
  options: Readonly<Record<string, unknown>> = {},
): Promise<number> {
  return runExec(io, new Input(command, options), (words, env) => runCommand(words, env, io.cwd));
}

/** `wayleave exec` with a function in the command's place. */
export function within(
  io: FakeIo,
  options: Readonly<Record<string, unknown>>,
  work: (env: NodeJS.ProcessEnv) => Promise<void>,
): Promise<number> {
  return runExec(io, new Input([], options), async (_, env) => {
    await work(env);
    return 0;
  });
}

/** Where the job's handle is. */
export function handleFolder(io: FakeIo): string {
  const base = join(io.env.XDG_RUNTIME_DIR ?? "", "wayleave");
  return join(base, readdirSync(base)[0] ?? "");
}

export function exchangesOf(broker: FakeBroker): readonly Seen[] {
  return broker.seen.filter(({ form }) => form.get("subject_token") !== null);
}
