import type { CompiledTarget, Policy } from "../../policy/policy.ts";

/** A compiled policy of which a renderer sees only the targets. */
export function fakePolicy(targets: readonly (Partial<CompiledTarget> & { readonly name: string })[]): Policy {
  const unused = (): never => {
    throw new TypeError("a renderer does not decide");
  };
  const compiled = targets.map(
    (target): CompiledTarget => ({
      kind: "http",
      mode: "enforce",
      hosts: [`${target.name}.internal`],
      assertion: "off",
      proof: "off",
      encodedSlash: "refuse",
      onOutage: { keepSeconds: 0 },
      sharesRoutes: false,
      streams: false,
      ...target,
    }),
  );
  return {
    denyReason: () => undefined,
    version: "0123456789ab",
    inForce: "0123456789ab",
    versionFor: () => "0123456789ab",
    targetFor: (name) => compiled.find((one) => one.name === name),
    targets: new Map(compiled.map((target) => [target.name, target])),
    pins: {},
    rolesFor: unused,
    deniesFor: unused,
    standings: unused,
    factsFor: unused,
    decide: unused,
    hostsFor: unused,
    natsAccount: unused,
    natsRights: unused,
    natsRightsNow: unused,
    events: [],
    unidentified: (name) => {
      const target = compiled.find((one) => one.name === name);
      return { pass: target?.sharesRoutes === true, mode: target?.mode ?? "enforce" };
    },
  };
}
