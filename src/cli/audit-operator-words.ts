import { type Actor, actorText } from "../core/person.ts";
import type { AuditRecord } from "../core/record.ts";

/** What a record about people says in one line; undefined for every other kind. */
export function operatorWords(record: AuditRecord): readonly [kind: string, ...rest: readonly string[]] | undefined {
  switch (record.kind) {
    case "operator.action": {
      const { action, outcome, code, who } = record.data;
      return [record.kind, `${action}  ${code ?? outcome}`, nameOf(who)];
    }
    case "operator.refused": {
      const { action = "request", code, who, from = "" } = record.data;
      return [record.kind, `${action}  ${code}`, who === undefined ? from : nameOf(who)];
    }
    case "operator.signed_in":
      return [record.kind, record.data.roles.join(","), nameOf(record.data.who)];
    case "operator.signed_out":
      return [record.kind, record.data.sign_in, nameOf(record.data.who)];
    case "operator.bootstrap_ended":
      return [record.kind, record.data.reason];
    default:
      return undefined;
  }
}

/** The name is for reading; the record itself has issuer and subject. */
function nameOf(who: Actor): string {
  return who.by === "person" ? (who.name ?? who.sub) : actorText(who);
}
