import { readdirSync, readFileSync } from "node:fs";
import { HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import { describe, expect, test } from "vitest";
import { parseAllDocuments } from "yaml";
import { identityHeaders } from "./header-names.ts";
import { renderIngress, renderIngressHeaders } from "./kubernetes-ingress.ts";
import { type RouteSettings, renderHttpRoutes } from "./kubernetes-route.ts";
import type { KubernetesSettings } from "./kubernetes-settings.ts";
import { fakePolicy } from "./policy.fake.ts";

const settings: RouteSettings = {
  name: "edge-1",
  brokerUrl: "http://wayleave.wayleave.svc.cluster.local:8700",
  targets: ["portal", "billing"],
  namespace: "shop",
  services: { billing: { name: "billing-api", port: 8080 } },
  parent: { name: "edge", namespace: "gateways" },
  filter: { group: "gateway.nginx.org", kind: "SnippetsFilter", name: "wayleave" },
};
const policy = fakePolicy([
  { name: "billing", hosts: ["billing.internal", "api.internal"] },
  { name: "portal", assertion: "required" },
  { name: "watched", mode: "observe" },
  { name: "shared", sharesRoutes: true },
  { name: "chat", streams: true },
  { name: "review", hosts: ["${environment.slug}.review.example"] },
  { name: "db", kind: "secret", hosts: [] },
  { name: "Under_score" },
]);

function golden(form: string, parts: Partial<RouteSettings>): string {
  const all = { ...settings, ...parts };
  const { files, notes } = form === "ingress" ? renderIngress(all, policy) : renderHttpRoutes(all, policy);
  const secret = form === "ingress" ? [`===== headers\n${renderIngressHeaders(all, policy, "not-a-secret-1234")}`] : [];
  const texts = files.map(({ path, mode, text }) => `===== ${path} ${mode.toString(8)}\n${text}`);
  return [...texts, ...secret, "===== notes\n", ...notes.map((note) => `${note}\n`)].join("");
}

const folder = new URL("testdata/kubernetes/", import.meta.url);
const names = readdirSync(folder);

test("there are goldens", () => {
  expect(names.length).toBeGreaterThanOrEqual(3);
});

test.each(names)("golden: %s", (name) => {
  const [input = "", expected] = readFileSync(new URL(name, folder), "utf8").split("----------\n");
  const { form, ...parts } = JSON.parse(input);
  expect(golden(form, parts)).toBe(expected);
  expect(golden(form, { ...parts, targets: (parts.targets ?? settings.targets).toReversed() })).toBe(expected);
});

test("routes fit Gateway API's resource definitions", () => {
  const [file] = renderHttpRoutes(settings, policy).files;
  const routes = parseAllDocuments(file?.text ?? "").map((document) => document.toJS());
  expect(routes.length).toBe(2);
  for (const route of routes) new HTTPRoute(route).validate();
  expect(() =>
    new HTTPRoute({ ...routes[0], spec: { rules: [{ filters: [{ type: "Nothing" }] }] } } as never).validate(),
  ).toThrow();
  // In CEL: a filter of a type has that type's member and no other, and the strip is one filter of at most 16 names.
  for (const { spec } of routes) {
    const [strip, ask] = spec.rules[0].filters;
    expect(Object.keys(strip)).toEqual(["type", "requestHeaderModifier"]);
    expect(Object.keys(ask)).toEqual(["type", "extensionRef"]);
    expect(strip.requestHeaderModifier.remove.length).toBeLessThanOrEqual(16);
  }
});

test("the controller's annotations take what is rendered", () => {
  const resources = parseAllDocuments(renderIngress(settings, policy).files[0]?.text ?? "").map((document) =>
    document.toJS(),
  );
  for (const { metadata } of resources) {
    const at = (key: string) => metadata.annotations[`nginx.ingress.kubernetes.io/${key}`];
    expect(at("auth-url")).toMatch(/^[-._~a-zA-Z0-9/:, ?&=$]*$/);
    expect(at("auth-response-headers")).toMatch(/^[A-Za-z0-9-_, ]*$/);
    expect(at("auth-proxy-set-headers")).toMatch(/^[-._~a-zA-Z0-9/:]*$/);
    expect(at("auth-method")).toBe("GET");
    for (const header of identityHeaders) expect(at("auth-response-headers").split(",")).toContain(header);
    expect(Object.keys(metadata.annotations).filter((key) => key.includes("snippet"))).toEqual([]);
  }
});

describe("the Ingress form refuses, naming the clause", () => {
  test.each<{ what: string; parts: Partial<KubernetesSettings>; words: RegExp }>([
    { what: "an observed target", parts: { targets: ["watched"] }, words: /target watched is observed/ },
    { what: "shared routes", parts: { targets: ["shared"] }, words: /unidentified: pass/ },
    { what: "streams", parts: { targets: ["chat"] }, words: /stream: true/ },
    { what: "hosts with templates", parts: { targets: ["review"] }, words: /hosts written out/ },
    { what: "a secret", parts: { targets: ["db"] }, words: /of kind secret/ },
    { what: "a name Kubernetes does not take", parts: { targets: ["Under_score"] }, words: /rename it/ },
    { what: "an unknown target", parts: { targets: ["biling"] }, words: /no target "biling"/ },
    { what: "no targets", parts: { targets: [] }, words: /fronts no target/ },
    { what: "a service of nothing", parts: { services: { other: { name: "x", port: 1 } } }, words: /does not front/ },
    { what: "a socket", parts: { brokerUrl: "unix:/run/wayleave.sock" }, words: /broker_url/ },
    { what: "a broker with a path", parts: { brokerUrl: "http://w/x" }, words: /broker_url/ },
    { what: "a variable in the address", parts: { brokerUrl: "http://$host" }, words: /broker_url/ },
    { what: "a name that is no label", parts: { name: "Edge 1" }, words: /its name/ },
    { what: "a namespace that is none", parts: { namespace: "a/b" }, words: /no Kubernetes namespace/ },
  ])("$what", ({ parts, words }) => {
    const all = { ...settings, services: {}, ...parts };
    const refusal = expect.objectContaining({ code: "render_refused", message: expect.stringMatching(words) });
    expect(() => renderIngress(all, policy)).toThrow(refusal);
    expect(() => renderIngressHeaders(all, policy, "not-a-secret-1234")).toThrow(refusal);
  });

  test.each(["short", "a b c d e f g h i j", 'quote"quote"quote'])("the secret %j, unsaid", (secret) => {
    expect(() => renderIngressHeaders(settings, policy, secret)).toThrow(
      expect.objectContaining({ code: "render_refused", message: expect.not.stringContaining(secret) }),
    );
  });
});

describe("the Gateway API form refuses", () => {
  test("to ask by the standard's own filter, which cannot say who asks", () => {
    const { filter: _, ...without } = settings;
    expect(() => renderHttpRoutes(without, policy)).toThrow(/ExternalAuth filter adds no headers/);
  });

  test.each(["", "a b", "x/y", "-x"])("a filter of the name %j", (name) => {
    const filter = { group: "gateway.nginx.org", kind: "SnippetsFilter", name };
    expect(() => renderHttpRoutes({ ...settings, filter }, policy)).toThrow(/group\/kind\/name/);
  });
});
