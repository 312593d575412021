import type { KeysResponse } from "../api/contract.ts";
import type { Config, GatewayConfig } from "../config/config.ts";
import type { AuditRecord } from "../core/record.ts";
import type { GatewaysResponse } from "../gateway/gateway-summary.ts";
import type { NatsStatus } from "../gateway/nats/status.ts";
import type { Input } from "./command.ts";
import type { CommandIo } from "./command-io.ts";
import type { DoctorFacts, GatewayFacts, LineFacts } from "./doctor-facts.ts";
import { certificateFiles, envoyFiles, nginxFindings, resourceFindings } from "./doctor-gather-files.ts";
import { natsFacts, natsStatuses } from "./doctor-gather-nats.ts";
import { issuerClocks, keySets, probeAnswers } from "./doctor-gather-network.ts";
import { loadWholeConfig } from "./load-config.ts";
import { connectOperator, type Operator, queryOf } from "./operator.ts";

/** Everything the checks look at, as far as it can be had. Throws for a configuration or a named file that cannot be read. */
export async function gatherFacts(io: CommandIo, input: Input): Promise<DoctorFacts> {
  const config = await loadWholeConfig(io, input);
  const [running, issuers, answers, probes, nginx, resources] = await Promise.all([
    brokerFacts(io, input, config),
    issuerClocks(config, io.now),
    keySets(config, io, input),
    probeAnswers(config, io, input),
    nginxFindings(config, io, input),
    resourceFindings(config, io, input),
  ]);
  const { statuses = [], ...known } = running;
  const nats = await natsFacts(config, statuses);
  const envoy = envoyFiles(io, input);
  const certificates = certificateFiles(config, io, input);
  return {
    now: io.now(),
    gateways: config.gateways.map(gatewayFacts),
    ...known,
    ...(nats === undefined ? {} : { nats }),
    ...(issuers.length === 0 ? {} : { issuers }),
    ...(answers.length === 0 ? {} : { keySets: answers }),
    ...(probes === undefined ? {} : { probes }),
    ...(nginx === undefined ? {} : { nginx }),
    ...(resources === undefined ? {} : { resources }),
    ...(envoy === undefined ? {} : { envoy }),
    ...(certificates.length === 0 ? {} : { certificates }),
  };
}

function gatewayFacts(gateway: GatewayConfig): GatewayFacts {
  const follows = gateway.kind === "envoy" && gateway.mode === "native";
  return {
    name: gateway.name,
    kind: gateway.kind,
    ships: gateway.kind === "nginx" || gateway.kind === "envoy",
    ...(follows ? { refusalsTtlMs: gateway.revocationTtlMs } : {}),
  };
}

/** From the broker's own socket; nothing where it does not run here. */
async function brokerFacts(
  io: CommandIo,
  input: Input,
  config: Config,
): Promise<Pick<DoctorFacts, "keys" | "inventory" | "lines"> & { readonly statuses?: readonly NatsStatus[] }> {
  const operator = await connectOperator(io, input);
  try {
    const [keys, inventory, lines, statuses] = await Promise.all([
      operator.get<KeysResponse>("/v1/keys"),
      operator.get<GatewaysResponse>("/v1/gateways"),
      Promise.all(config.gateways.map(({ name }) => lineFacts(operator, name))),
      natsStatuses(operator),
    ]);
    return { keys, inventory, lines, statuses };
  } catch {
    return {}; // its checks are skipped, and say that they need a running broker
  } finally {
    await operator.close();
  }
}

const newestLines = "20";

async function lineFacts(operator: Operator, gateway: string): Promise<LineFacts> {
  const ask = async (kind: string, limit: string): Promise<readonly AuditRecord[]> => {
    const query = queryOf({ kind, gateway, limit });
    return (await operator.get<{ records: readonly AuditRecord[] }>(`/v1/records${query}`)).records;
  };
  const [lines, decisions] = await Promise.all([ask("gateway.request", newestLines), ask("decision", "1")]);
  const [last] = lines;
  const [decided] = decisions;
  return {
    gateway,
    aheadMs: lines.flatMap((record) =>
      record.kind === "gateway.request" ? [record.data.at - Date.parse(record.time)] : [],
    ),
    ...(last === undefined ? {} : { lastAt: Date.parse(last.time) }),
    ...(decided === undefined ? {} : { decidedAt: Date.parse(decided.time) }),
  };
}
