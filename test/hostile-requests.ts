import { framingCases } from "./hostile-framing.ts";
import { credentialCases, hopCases, identityCases, overrideCases } from "./hostile-headers.ts";
import { hostCases, lineCases } from "./hostile-lines.ts";
import { pathCases } from "./hostile-paths.ts";
import type { HostileRequest } from "./hostile-request.ts";

/** The corpus that every real gateway is held against; names are unique. */
export const hostileRequests: readonly HostileRequest[] = [
  ...pathCases,
  ...lineCases,
  ...hostCases,
  ...credentialCases,
  ...identityCases,
  ...overrideCases,
  ...hopCases,
  ...framingCases,
];
