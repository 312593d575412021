import { z } from "zod";
import { describedFile, name } from "./fields.ts";

const list = (form: RegExp, must: string, text: string) =>
  z.array(z.string().regex(form, must)).describe(text).optional();

/** One of several places that a policy is put together from, as `policy: { sources: [...] }` lists them. */
export const PolicySource = z
  .strictObject({
    name: name("Word for this source in messages and status. 1 to 16 of a-z, 0-9 and -."),
    path: describedFile("Policy file, or folder of *.yaml files; `wayleave.lock` stands beside them."),
    projects: list(
      /^[a-z0-9-]{1,16}(\/([^\s/*]+|\*\*|[^\s/*]*\*[^\s/*]*))+$/,
      "must be an issuer and a path, such as gitlab/acme/billing/**",
      "Projects its roles may be for, each an issuer's name or type and a path: `gitlab/acme/billing/**`. `*` is one part of a path, `**` any number. Default, where `targets` is given: none.",
    ),
    targets: list(
      /^[a-z0-9*][a-z0-9_*-]{0,62}$/,
      "must be the name of a target, in which * may stand",
      "Targets it may grant. Default, where `projects` is given: none.",
    ),
    hosts: list(
      /^([a-z0-9-]+|\*)(\.([a-z0-9-]+|\*))*$/,
      "must be a host in lower case, in which * may stand for one label",
      "Hosts of HTTP targets it may declare itself: `*.billing.internal`. Default: it declares no target.",
    ),
  })
  .describe("A source with `projects` or `targets` is kept within them; one with neither may say anything.");

export const sourcesDoc =
  "Places that the policy is put together from. Each keeps its last good version: one that is wrong or goes beyond its bounds is refused alone.";
