import type { Clock } from "../../core/clock.ts";
import { type ReasonCode, reasonCodes } from "../../core/decision.ts";
import type { Answer, Question, StandingPoint } from "../decision-point.ts";
import { answerFields } from "./answer-head.ts";
import type { Client } from "./client.ts";
import { denial, type UpstreamFault, upstreamRefusal } from "./denial.ts";
import { forwardedFields } from "./forwarded-fields.ts";
import type { OpenExchange, OpenExchanges } from "./open-exchanges.ts";
import { type RawHead, type RequestHead, readHead } from "./request-head.ts";
import type { ProxyLimits } from "./settings.ts";
import { type Route, strangersRules, type TargetRouter } from "./target-router.ts";
import type { UpstreamCall } from "./upstream.ts";

export interface ExchangeDeps {
  /** Name of the proxy in the inventory. */
  readonly gateway: string;
  readonly clock: Clock;
  readonly point: StandingPoint;
  readonly routes: TargetRouter;
  readonly open: OpenExchanges;
  readonly limits: ProxyLimits;
  /** Told how something that lasted ended. */
  closed(end: ExchangeEnd): void;
  /** Told what is a fault and no refusal: for the log. Must not throw. */
  onFault(error: unknown): void;
}

/** How something that lasted ended. */
export interface ExchangeEnd {
  readonly open: OpenExchange;
  readonly answer: Answer;
  readonly transport: "http" | "grpc" | "websocket" | "tcp";
  /** Who went first. */
  readonly by: "client" | "upstream" | "wayleave";
  /** Why Wayleave ended it. */
  readonly reason?: ReasonCode;
}

/** A request that was decided. */
export interface Decided {
  readonly head: RequestHead;
  readonly question: Question;
  readonly answer: Answer;
  /** Absent: no target is meant, and the answer a denial. */
  readonly route: Route | undefined;
}

/** Reads a request, has it decided, and calls back; at once where the decision is there at once. */
export function decided(deps: ExchangeDeps, raw: RawHead, then: (found: Decided) => void): void {
  const { route, head, question } = questionOf(deps, raw);
  const settle = (answer: Answer) => {
    try {
      then({ head, question, answer: route === undefined ? { ...answer, outcome: "deny" } : answer, route });
    } catch (error) {
      deps.onFault(error);
    }
  };
  const answer = deps.point.answer(question);
  if (answer instanceof Promise) answer.then(settle, deps.onFault);
  else settle(answer);
}

function questionOf(deps: ExchangeDeps, raw: RawHead) {
  const route = deps.routes(raw.authority.replace(/:\d*$/, "").toLowerCase());
  const head = readHead(raw, route?.rules ?? strangersRules);
  const long = (head.contentLength ?? 0) > deps.limits.maxBytes;
  const question: Question = {
    gateway: deps.gateway,
    target: route?.target.name ?? "",
    operation: long ? { ...head.operation, stream: true } : head.operation,
    authorization: authorizationOf(head.credential, route),
    ...(head.proof === undefined ? {} : { proof: head.proof }),
    ...(head.ambiguity === undefined ? {} : { ambiguity: head.ambiguity }),
    ...(head.traceparent === undefined ? {} : { traceparent: head.traceparent }),
  };
  return { route, head, question };
}

function authorizationOf(credential: string | undefined, route: Route | undefined): string | undefined {
  if (credential === undefined || route === undefined || route.target.credentialHeader === "authorization")
    return credential;
  return `Bearer ${credential}`;
}

/** One request and its answer, from its head to its last byte. */
export function exchange(deps: ExchangeDeps, raw: RawHead, client: Client): void {
  let gone = false;
  client.onClose(() => {
    gone = true;
  });
  decided(deps, raw, (found) => {
    if (gone) return;
    const { head, question, answer, route } = found;
    if (answer.outcome === "deny" || route === undefined) client.refuse(denial(question, answer, head.grpc));
    else forward(deps, { ...found, route }, client);
  });
}

function forward(deps: ExchangeDeps, found: Decided & { readonly route: Route }, client: Client): void {
  const { head, question, answer, route } = found;
  const { target, upstream } = route;
  const { maxBytes } = deps.limits;
  let call: UpstreamCall | undefined;
  let over = false;
  const finish = (by: ExchangeEnd["by"], reason?: ReasonCode): boolean => {
    if (over) return false;
    over = true;
    deps.open.remove(open);
    if (open.unbounded || reason !== undefined) {
      const transport = head.grpc ? "grpc" : "http";
      deps.closed({ open, answer, transport, by, ...(reason === undefined ? {} : { reason }) });
    }
    return true;
  };
  const open: OpenExchange = {
    ...standing(deps, question, answer),
    cut(reason, again) {
      if (!finish("wayleave", reason)) return;
      call?.abort();
      if (client.begun) client.cut(head.grpc ? reasonCodes[reason] : undefined);
      else client.refuse(denial(question, again ?? answer, head.grpc, reason));
    },
  };
  const fail = (fault: UpstreamFault) => {
    if (!finish("upstream")) return;
    if (client.begun) client.cut(undefined);
    else client.refuse(upstreamRefusal(fault, target.name, answer, head.grpc));
  };
  client.onClose(() => {
    if (finish("client")) call?.abort();
  });
  client.onDrain(() => call?.resume());
  deps.open.add(open);
  if (client.body !== undefined) client.proceed();
  const body = client.body;
  call = upstream.send(
    {
      method: head.operation.method,
      url: head.url,
      authority: head.authority,
      fields: forwardedFields(head, answer, target, client.origin),
      grpc: head.grpc,
      ...(body === undefined ? {} : { body }),
    },
    {
      sent(bytes) {
        open.bytesIn += bytes;
        if (open.bytesIn > maxBytes) deps.open.needsStream(open);
      },
      head(status, raw, last) {
        const fields = answerFields(raw);
        if (fields === undefined) {
          call?.abort();
          fail("broken");
          return;
        }
        if (lasts(fields, maxBytes)) deps.open.needsStream(open);
        if (!over) client.head(status, fields, last);
      },
      data(chunk) {
        open.bytesOut += chunk.length;
        if (open.bytesOut > maxBytes) deps.open.needsStream(open);
        return over || client.write(chunk);
      },
      end(trailers) {
        if (finish("upstream")) client.end(answerFields(trailers) ?? []);
      },
      fail,
    },
  );
  if (over) call.abort();
}

/** What is kept of a request that was let through. Observed ones are never stopped, so nothing bounds them. */
export function standing(deps: ExchangeDeps, question: Question, answer: Answer): Omit<OpenExchange, "cut"> {
  const { operation } = question;
  return {
    question,
    ...(answer.holder === undefined ? {} : { holder: answer.holder }),
    openedAt: deps.clock.monotonic(),
    bytesIn: 0,
    bytesOut: 0,
    unbounded: answer.outcome === "would_deny" || (operation.kind === "http" && operation.stream),
  };
}

/** An answer that says itself that it is a stream, or longer than one without that right may be. */
function lasts(fields: readonly string[], maxBytes: number): boolean {
  for (let at = 0; at + 1 < fields.length; at += 2) {
    const name = (fields[at] as string).toLowerCase();
    const value = fields[at + 1] as string;
    if (name === "content-length" && Number(value) > maxBytes) return true;
    if (name === "content-type" && /^text\/event-stream\b/i.test(value)) return true;
  }
  return false;
}
