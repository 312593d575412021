import { type Parsed, parsed, refused } from "./findings.ts";
import { isTemplate, parseTemplate, splitOutside } from "./parse-template.ts";

/** A target's host in lower case; `${…}` may stand for whole labels but the last. Codes: `host_invalid` and those of templates. */
export function checkHost(source: string, variables: readonly string[]): Parsed<string> {
  const shape = checkShape(source);
  if (shape) return shape;
  const template = parseTemplate(source, variables);
  if (!template.ok) return template;
  const labels = splitOutside(source, ".");
  for (const [index, label] of labels.entries()) {
    const at = Math.min(label.at, source.length - 1);
    const problem = labelProblem(label.text, index === labels.length - 1);
    if (problem) return refused("host_invalid", problem.message, at, label.text.length, problem.help);
  }
  return parsed(source.replace(/\$\{[^}]*\}|[A-Z]+/g, (part) => (part.startsWith("$") ? part : part.toLowerCase())));
}

function labelProblem(label: string, last: boolean): { message: string; help: string } | undefined {
  if (!isTemplate(label)) {
    if (/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i.test(label)) return undefined;
    const help = "labels of letters, digits and - between dots; names beyond ASCII in their xn-- form";
    return { message: label === "" ? "an empty label" : `"${label}" is not a host label`, help };
  }
  if (!/^\$\{[^}]*\}$/.test(label)) {
    return { message: "a template fills a whole label", help: "write ${…}.review.acme.example" };
  }
  if (!last) return undefined;
  return {
    message: "a host cannot end with a template",
    help: "end it with a domain of yours: ${environment.slug}.review.acme.example",
  };
}

function checkShape(source: string): Parsed<never> | undefined {
  const refuse = (message: string, at: number, length: number, help: string) =>
    refused("host_invalid", message, at, length, help);
  if (source === "") return refuse("an empty host", 0, 1, "write the name the service answers to");
  if (source.length > 253) return refuse("the host is too long", 0, source.length, "at most 253 characters");
  const scheme = /^[a-z]+:\/\//i.exec(source);
  if (scheme)
    return refuse("a host has no scheme", 0, scheme[0].length, `write ${source.slice(scheme[0].length).split("/")[0]}`);
  const slash = source.replace(/\$\{[^}]*\}/g, (hole) => "x".repeat(hole.length)).search(/[/:*\s]/);
  if (slash === -1) return undefined;
  const rest = source.length - slash;
  if (source[slash] === ":")
    return refuse("a host has no port here", slash, rest, "leave it out: every port of the gateway counts");
  if (source[slash] === "*")
    return refuse("a host has no wildcard", slash, 1, "list the hosts, or use ${environment.slug}");
  return refuse("this is not a host", slash, rest, "only the name: billing.internal");
}
