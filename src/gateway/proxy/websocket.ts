import { createHash } from "node:crypto";
import { type IncomingHttpHeaders, type IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { answerFields } from "./answer-head.ts";
import type { Client } from "./client.ts";
import { http1Client } from "./client-http1.ts";
import { denial, type UpstreamFault, upstreamRefusal } from "./denial.ts";
import { type Decided, decided, type ExchangeDeps, standing } from "./exchange.ts";
import { forwardedFields } from "./forwarded-fields.ts";
import { joinSockets } from "./joined-sockets.ts";
import type { OpenExchange } from "./open-exchanges.ts";
import type { RawHead } from "./request-head.ts";
import type { Route } from "./target-router.ts";
import type { UpgradeSink, UpstreamCall } from "./upstream.ts";

/** A request with `Upgrade: websocket`, from its head to the connection's end. `rest` came behind the head. */
export function openWebSocket(
  deps: ExchangeDeps,
  raw: RawHead,
  connection: {
    readonly request: IncomingMessage;
    readonly socket: Duplex;
    readonly rest: Buffer;
    readonly secure: boolean;
  },
): void {
  const { request, socket, secure } = connection;
  const client = answering(request, socket, secure);
  const problem = handshakeProblem(request.headers);
  decided(deps, problem === undefined ? raw : { ...raw, ambiguity: problem }, (found) => {
    if (socket.destroyed) return;
    const { question, answer, route } = found;
    if (answer.outcome === "deny" || route === undefined) client.refuse(denial(question, answer, false));
    else join(deps, { ...found, route }, client, connection);
  });
}

/** An answer without an upgrade is the connection's last. */
export function answering(request: IncomingMessage, socket: Duplex, secure: boolean): Client {
  const response = new ServerResponse(request);
  response.shouldKeepAlive = false;
  response.assignSocket(socket as Socket);
  response.once("finish", () => socket.end());
  return http1Client(request, response, { secure, draining: () => true });
}

/** RFC 6455 §4.2.1. */
function handshakeProblem(headers: IncomingHttpHeaders): string | undefined {
  const key = headers["sec-websocket-key"] ?? "";
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) return "the WebSocket has no key, or more than one";
  return headers["sec-websocket-version"] === "13" ? undefined : "a version of WebSocket that is not 13";
}

function join(
  deps: ExchangeDeps,
  found: Decided & { readonly route: Route },
  client: Client,
  { request, socket, rest }: { readonly request: IncomingMessage; readonly socket: Duplex; readonly rest: Buffer },
): void {
  const { head, question, answer, route } = found;
  let call: UpstreamCall | undefined;
  let service: Duplex | undefined;
  let over = false;
  const finish = (): boolean => {
    if (over) return false;
    over = true;
    deps.open.remove(open);
    return true;
  };
  const open: OpenExchange = {
    ...standing(deps, question, answer),
    cut(reason, again) {
      if (!finish()) return;
      if (service === undefined) {
        call?.abort();
        client.refuse(denial(question, again ?? answer, false, reason));
        return;
      }
      deps.closed({ open, answer, transport: "websocket", by: "wayleave", reason });
      socket.destroy();
      service.destroy();
    },
  };
  const fail = (fault: UpstreamFault) => {
    if (finish()) client.refuse(upstreamRefusal(fault, route.target.name, answer, false));
  };
  socket.once("close", () => {
    if (service === undefined && finish()) call?.abort();
  });
  deps.open.add(open);
  const sink: UpgradeSink = {
    sent: () => undefined,
    head(status, raw) {
      const fields = answerFields(raw);
      if (fields === undefined) fail("broken");
      else if (!over) client.head(status, fields, false);
    },
    data: (chunk) => over || client.write(chunk),
    end() {
      if (finish()) client.end([]);
    },
    fail,
    upgraded(raw, upgraded) {
      const fields = answerFields(raw);
      if (over || fields === undefined || !agreed(raw, request.headers["sec-websocket-key"] ?? "")) {
        upgraded.destroy();
        fail("broken");
        return;
      }
      service = upgraded;
      socket.write(switching(fields), "latin1");
      if (rest.length > 0) socket.unshift(rest);
      void joinSockets(socket, upgraded, open).then((by) => {
        if (finish()) deps.closed({ open, answer, transport: "websocket", by });
      });
    },
  };
  if (route.upstream.upgrade === undefined) {
    fail("broken");
    return;
  }
  const { method } = head.operation;
  const fields = forwardedFields(head, answer, route.target, client.origin);
  call = route.upstream.upgrade({ method, url: head.url, authority: head.authority, fields, grpc: false }, sink);
  if (over) call.abort();
}

/** The service speaks WebSocket, and to this very request (RFC 6455 §4.1): what it sends is no answer to another. */
function agreed(raw: readonly (string | Buffer)[], key: string): boolean {
  const expected = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  const values = (wanted: string) =>
    raw.flatMap((text, at) =>
      at % 2 === 1 && String(raw[at - 1]).toLowerCase() === wanted ? [String(text).trim()] : [],
    );
  const upgrade = values("upgrade");
  const accept = values("sec-websocket-accept");
  return (
    upgrade.length === 1 && upgrade[0]?.toLowerCase() === "websocket" && accept.length === 1 && accept[0] === expected
  );
}

function switching(fields: readonly string[]): string {
  let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
  for (let at = 0; at + 1 < fields.length; at += 2) text += `${fields[at]}: ${fields[at + 1]}\r\n`;
  return `${text}\r\n`;
}
