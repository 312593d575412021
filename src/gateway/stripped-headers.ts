/** What only Wayleave may say to an upstream or to a gateway, as Envoy-based gateways remove it from a client's request. */
export const identityHeaders = [
  "x-wayleave-authorization",
  "x-wayleave-decision",
  "x-wayleave-gateway",
  "x-wayleave-gateway-secret",
  "x-wayleave-job",
  "x-wayleave-reason",
  "x-wayleave-record",
  "x-wayleave-role",
  "x-wayleave-session",
  "x-wayleave-subject",
  "x-wayleave-target",
  "x-wayleave-traceparent",
  "txn-token",
] as const;

/** Headers by which frameworks let a request change its own method or URL. */
export const overrideHeaders = [
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
  "x-original-url",
  "x-rewrite-url",
] as const;

/** Every way to write a name with `-`, `_` or `.` as separators, as written first. */
export function headerSpellings(name: string): string[] {
  const [first = "", ...rest] = name.split("-");
  return rest.reduce(
    (all, part) => ["-", "_", "."].flatMap((sign) => all.map((text) => `${text}${sign}${part}`)),
    [first],
  );
}
