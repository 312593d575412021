import { createHash } from "node:crypto";

const maxEnvironmentSlug = 24;
const maxRefSlug = 63;

/** `CI_ENVIRONMENT_SLUG` of an environment's name: at most 24 of `a-z0-9-`, with a suffix where the name was changed. */
export function environmentSlug(name: string): string {
  const plain = name.toLowerCase().replace(/[^a-z0-9]/gu, "-");
  const slug = (/^[a-z]/.test(plain) ? plain : `env-${plain}`).replace(/-+/g, "-");
  if (slug.length <= maxEnvironmentSlug && slug === name) return slug.replace(/-$/, "");
  const short = slug.slice(0, 17);
  const digest = createHash("sha256").update(name).digest("hex");
  return `${short}${short.endsWith("-") ? "" : "-"}${BigInt(`0x${digest}`).toString(36).slice(-6)}`;
}

/** `CI_COMMIT_REF_SLUG` of a branch or tag: at most 63 of `a-z0-9-`, no `-` at either end. May be empty. */
export function refSlug(ref: string): string {
  return ref
    .toLowerCase()
    .replace(/[^a-z0-9]/gu, "-")
    .slice(0, maxRefSlug)
    .replace(/^-+|-+$/g, "");
}
