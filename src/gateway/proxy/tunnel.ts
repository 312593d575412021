import type { IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Answer, Question } from "../decision-point.ts";
import type { Client } from "./client.ts";
import { denial, type UpstreamFault, upstreamRefusal } from "./denial.ts";
import { type ExchangeDeps, standing } from "./exchange.ts";
import { joinSockets } from "./joined-sockets.ts";
import type { OpenExchange } from "./open-exchanges.ts";
import { readConnect } from "./request-head.ts";
import { strangersRules } from "./target-router.ts";
import { answering } from "./websocket.ts";

export interface TunnelDeps extends ExchangeDeps {
  /** Names of the targets that take connections. */
  readonly tcpTargets: ReadonlySet<string>;
  /** `host:port` of a tcp target, as policy says it now. */
  addressOf(target: string): string | undefined;
}

/**
 * `CONNECT <target>:<port>`: a connection to a tcp target. Where it leads is the target's alone to say: the port is not looked
 * at, and no address is taken from a request.
 */
export function openTunnel(
  deps: TunnelDeps,
  connection: {
    readonly request: IncomingMessage;
    readonly socket: Duplex;
    readonly rest: Buffer;
    readonly secure: boolean;
  },
): void {
  const { request, socket, secure } = connection;
  const client = answering(request, socket, secure);
  const named = /^([a-z0-9][a-z0-9_-]*):\d{1,5}$/.exec(request.url ?? "")?.[1] ?? "";
  const target = deps.tcpTargets.has(named) ? named : "";
  const { credential, traceparent, ambiguity } = readConnect(request.rawHeaders, strangersRules);
  const question: Question = {
    gateway: deps.gateway,
    target,
    operation: { kind: "verb", verb: "connect" },
    authorization: credential,
    ...(ambiguity === undefined ? {} : { ambiguity }),
    ...(traceparent === undefined ? {} : { traceparent }),
  };
  const settle = (answer: Answer) => {
    if (socket.destroyed) return;
    const address = deps.addressOf(target);
    if (answer.outcome === "deny" || target === "") client.refuse(denial(question, answer, false));
    else if (address === undefined) client.refuse(upstreamRefusal("unreachable", target, answer, false));
    else lead(deps, { ...connection, client, question, answer, address });
  };
  const answer = deps.point.answer(question);
  if (answer instanceof Promise) answer.then(settle, deps.onFault);
  else settle(answer);
}

interface Tunnel {
  readonly socket: Duplex;
  readonly rest: Buffer;
  readonly client: Client;
  readonly question: Question;
  readonly answer: Answer;
  readonly address: string;
}

function lead(deps: TunnelDeps, tunnel: Tunnel): void {
  const { socket, client, question, answer } = tunnel;
  const service = dial(tunnel.address);
  let joined = false;
  let over = false;
  const finish = (): boolean => {
    if (over) return false;
    over = true;
    clearTimeout(timer);
    deps.open.remove(open);
    return true;
  };
  const open: OpenExchange = {
    ...standing(deps, question, answer),
    unbounded: true, // a connection has no end of its own
    cut(reason, again) {
      if (!finish()) return;
      service.destroy();
      if (joined) {
        socket.destroy();
        deps.closed({ open, answer, transport: "tcp", by: "wayleave", reason });
      } else client.refuse(denial(question, again ?? answer, false, reason));
    },
  };
  const fail = (fault: UpstreamFault) => {
    if (joined || !finish()) return;
    service.destroy();
    client.refuse(upstreamRefusal(fault, question.target, answer, false));
  };
  const timer = setTimeout(() => fail("timeout"), deps.limits.connectMs);
  deps.open.add(open);
  socket.once("close", () => {
    if (!joined && finish()) service.destroy();
  });
  service.once("error", () => fail("unreachable"));
  service.once("connect", () => {
    if (over) return;
    joined = true;
    clearTimeout(timer);
    socket.write(`HTTP/1.1 200 Connection established\r\nX-Wayleave-Record: ${answer.record}\r\n\r\n`);
    if (tunnel.rest.length > 0) socket.unshift(tunnel.rest);
    void joinSockets(socket, service, open).then((by) => {
      if (finish()) deps.closed({ open, answer, transport: "tcp", by });
    });
  });
}

/** `host:port`, as policy writes it. */
function dial(address: string): Socket {
  const colon = address.lastIndexOf(":");
  const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
  return connect({ host, port: Number(address.slice(colon + 1)), noDelay: true, allowHalfOpen: true });
}
