import { WayleaveError } from "../core/errors.ts";
import type { AuditRecord } from "../core/record.ts";
import { parseSpiffeId } from "../core/spiffe-id.ts";
import { type CliCommand, jsonOption, operatorOptions, printJson } from "./command.ts";
import { connectOperator, type Operator, queryOf } from "./operator.ts";
import { labelled, type Paint, painter, printable, table } from "./terminal.ts";

export type MintedRecord = Extract<AuditRecord, { readonly kind: "svid.minted" }>;

export const svidShow: CliCommand = {
  path: ["svid", "show"],
  summary: "show whose an SVID is, by its serial, its jti or its SPIFFE ID",
  details: [
    "A serial is written as openssl prints it, with or without colons. A serial or jti leads to the one job or gateway it was minted for; a SPIFFE ID lists the newest SVIDs that carry it.",
  ],
  args: [{ spec: "<svid>", doc: "serial of an X.509-SVID, jti of a JWT-SVID, or a SPIFFE ID" }],
  options: [
    { spec: "--limit <n>", doc: "for a SPIFFE ID: at most so many (default: 20)" },
    ...operatorOptions,
    jsonOption,
  ],
  examples: ["svid show 4d3b9c02f1a84e6db7a05c11e92f7a63", "svid show spiffe://acme.example/role/release --json"],
  async run(io, input) {
    const operator = await connectOperator(io, input);
    try {
      const found = await findMinted(operator, input.args[0] ?? "", limitOf(input.text("limit")));
      const paint = painter(io, io.stdout);
      if (input.flag("json")) printJson(io, { svids: found });
      else
        io.stdout.write(
          found.length === 1 && found[0] !== undefined ? svidText(paint, found[0]) : svidTable(paint, found),
        );
      return 0;
    } finally {
      await operator.close();
    }
  },
};

function limitOf(text: string | undefined): number {
  if (text === undefined) return 20;
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= 1000) return limit;
  throw new WayleaveError("invalid_request", "--limit is a number from 1 to 1000.");
}

const pageSize = 1000;

/**
 * The records of an SVID, newest first: one for a serial or `jti`, up to `limit` for a SPIFFE ID. Reads the minted SVIDs
 * page by page, since records are not found by serial. Throws `record_not_found`.
 */
export async function findMinted(
  operator: Pick<Operator, "get">,
  asked: string,
  limit: number,
): Promise<readonly MintedRecord[]> {
  const { is, one } = matcher(asked);
  const found: MintedRecord[] = [];
  for await (const record of mintedRecords(operator)) {
    if (is(record)) found.push(record);
    if (found.length >= (one ? 1 : limit)) return found;
  }
  if (found.length > 0) return found;
  throw new WayleaveError("record_not_found", `No SVID ${asked.slice(0, 80)} was minted here, or its record is gone.`);
}

/** Newest first. */
async function* mintedRecords(operator: Pick<Operator, "get">): AsyncGenerator<MintedRecord> {
  for (let before: string | undefined; ; ) {
    const query = queryOf({ kind: "svid.minted", limit: String(pageSize), before });
    const { records } = await operator.get<{ records: readonly AuditRecord[] }>(`/v1/records${query}`);
    for (const record of records) if (record.kind === "svid.minted") yield record;
    before = records.at(-1)?.id;
    if (records.length < pageSize) return;
  }
}

function matcher(asked: string): { readonly is: (record: MintedRecord) => boolean; readonly one: boolean } {
  if (asked.startsWith("spiffe:")) {
    const id = parseSpiffeId(asked);
    if (id === undefined)
      throw new WayleaveError("invalid_request", `${asked.slice(0, 80)} is no SPIFFE ID with a path.`);
    return { is: ({ data }) => data.spiffe_id === id.text, one: false };
  }
  const serial = serialOf(asked);
  return { is: ({ data }) => data.jti === asked || (serial !== undefined && data.serial === serial), one: true };
}

/** As records have it: `serial=4D:3B` is `4d3b`. Undefined for what is no serial. */
function serialOf(text: string): string | undefined {
  const hex = text
    .replace(/^serial=/i, "")
    .replace(/^0x/i, "")
    .replaceAll(":", "")
    .toLowerCase()
    .replace(/^0+(?=.)/, "");
  return /^[0-9a-f]+$/.test(hex) ? hex : undefined;
}

/** One SVID as text. */
export function svidText(paint: Paint, { id, time, session, job, data }: MintedRecord): string {
  const { type, spiffe_id, serial, jti, role, gateway, audience, signer, expires_at } = data;
  const lines = [
    ...(job === undefined
      ? []
      : [{ label: "job", text: `${job.project} ${job.job_name ?? "job"} #${job.job_id} (${job.issuer})` }]),
    ...(job?.ref === undefined ? [] : [{ label: "ref", text: job.ref }]),
    ...(session === undefined ? [] : [{ label: "session", text: session }]),
    ...(gateway === undefined ? [] : [{ label: "gateway", text: gateway }]),
    ...(role === undefined ? [] : [{ label: "role", text: role }]),
    { label: type === "x509" ? "serial" : "jti", text: serial ?? jti ?? "" },
    ...(audience === undefined ? [] : [{ label: "audience", text: audience.join(", ") }]),
    { label: "minted", text: `${time}, record ${id}` },
    { label: "until", text: new Date(expires_at).toISOString() },
    { label: "signed by", text: signer },
  ];
  const head = `${type === "x509" ? "X.509-SVID" : "JWT-SVID"}  ${spiffe_id}`;
  return `${paint("bold", printable(head))}\n${labelled(
    paint,
    lines.map(({ label, text }) => ({ label, text: printable(text) })),
  )}`;
}

function svidTable(paint: Paint, records: readonly MintedRecord[]): string {
  const rows = records.map(({ time, job, data }) =>
    [
      time,
      data.type,
      job === undefined ? (data.gateway ?? "") : `${job.project} #${job.job_id}`,
      data.serial ?? data.jti ?? "",
    ].map(printable),
  );
  return table(paint, ["minted", "type", "for", "serial or jti"], rows);
}
