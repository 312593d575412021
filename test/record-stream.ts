import { Agent, request } from "undici";
import type { DemoWorld } from "../demo/world.ts";
import type { AuditRecord, RecordKind } from "../src/core/record.ts";

export type RecordOf<K extends RecordKind> = Extract<AuditRecord, { readonly kind: K }>;

/** Every record of a broker from now on, as its operator's socket streams them: what tests wait for instead of sleeping. */
export interface RecordStream {
  readonly seen: readonly AuditRecord[];
  /** The records of one kind so far, of one session where it is given. */
  of<K extends RecordKind>(kind: K, session?: string): readonly RecordOf<K>[];
  /** The first record of the kind, come already or to come, that matches. Rejects after 20 s with the kinds that came instead. */
  until<K extends RecordKind>(kind: K, matches?: (record: RecordOf<K>) => boolean): Promise<RecordOf<K>>;
  close(): Promise<void>;
}

const patienceMs = 20_000;

export async function followRecords(world: Pick<DemoWorld, "broker">): Promise<RecordStream> {
  const agent = new Agent({ connect: { socketPath: world.broker.adminSocket }, bodyTimeout: 0 });
  const { body } = await request("http://operator/v1/records/stream", { dispatcher: agent });
  const seen: AuditRecord[] = [];
  const waiting = new Set<() => void>();
  let rest = "";
  body.setEncoding("utf8");
  body.on("error", () => undefined); // the broker or the test closed it: whoever waits runs out of patience
  body.on("data", (text: string) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) seen.push(JSON.parse(line) as AuditRecord);
    for (const look of waiting) look();
  });

  const of: RecordStream["of"] = (kind, session) =>
    seen.filter(
      (record): record is RecordOf<typeof kind> =>
        record.kind === kind && (session === undefined || record.session === session),
    );

  return {
    seen,
    of,
    until(kind, matches = () => true) {
      return new Promise((resolve, reject) => {
        const look = () => {
          const found = of(kind).find(matches);
          if (found === undefined) return;
          clearTimeout(patience);
          waiting.delete(look);
          resolve(found);
        };
        const patience = setTimeout(() => {
          waiting.delete(look);
          reject(new Error(`no such ${kind} came; the last records: ${seen.slice(-20).map((each) => each.kind)}`));
        }, patienceMs);
        waiting.add(look);
        look();
      });
    },
    close: () => agent.destroy(),
  };
}
