import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { block, directive, printNginx, type Statement, variable } from "./nginx-config.ts";
import { type ConfigDirective, parseNginxConfig } from "./parse-config.ts";

test.each<{ what: string; statement: Statement; text: string }>([
  { what: "plain words", statement: directive("listen", "127.0.0.1:80"), text: "listen 127.0.0.1:80;\n" },
  { what: "nothing", statement: directive("proxy_set_header", "TE", ""), text: 'proxy_set_header TE "";\n' },
  { what: "spaces and braces", statement: directive("a", "b c;{}#"), text: 'a "b c;{}#";\n' },
  { what: "double quotes", statement: directive("a", '{"b":1}'), text: `a '{"b":1}';\n` },
  { what: "both quotes and a backslash", statement: directive("a", `"'\\`), text: `a "\\"'\\\\";\n` },
  { what: "a variable alone", statement: directive("a", variable("host")), text: "a $host;\n" },
  { what: "a variable in text", statement: directive("a", ["x", variable("host"), "y"]), text: 'a "x${host}y";\n' },
  {
    what: "a condition",
    statement: block("if", [{ variable: "x", equals: "" }], [directive("return", "403")]),
    text: 'if ($x = "") {\n    return 403;\n}\n',
  },
  { what: "a comment of two lines", statement: { comment: "a\nb" }, text: "# a\n# b\n" },
])("prints $what", ({ statement, text }) => {
  expect(printNginx([statement])).toBe(text);
});

describe("refuses text that NGINX cannot hold literally", () => {
  test.each(["$host", "a\nb", "a\u0000", "a\tb", "\u007f", "price: $5"])("%j", (text) => {
    expect(() => printNginx([directive("a", text)])).toThrow(expect.objectContaining({ code: "render_refused" }));
  });

  test("a comment that would end its line", () => {
    expect(() => printNginx([{ comment: "a\rlisten 80;" }])).toThrow(
      expect.objectContaining({ code: "render_refused" }),
    );
  });

  test("a variable that is more than a name", () => {
    expect(() => printNginx([directive("a", variable("x; return 200"))])).toThrow(TypeError);
  });
});

test("whatever is printed is read back as the same directive: no text can become syntax", () => {
  const text = fc.string({ unit: fc.constantFrom(..."ab ;{}\"'\\#()=~^*.:/-_\u00e9") });
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 4 }), text, (args, inner) => {
      const printed = printNginx([block("outer", args, [directive("inner", inner)]), directive("after")]);
      const { directives, diagnostics } = parseNginxConfig("x", printed);
      expect(diagnostics).toEqual([]);
      expect(directives.map(names)).toEqual([["outer", ...args, [["inner", inner]]], ["after"]]);
    }),
  );
});

test("the parser takes any text: it answers or says config_syntax, and never throws", () => {
  const soup = fc.string({ unit: fc.constantFrom(..."ab \n;{}\"'\\#$()", "x_by_lua_block {", "${", "--[[", "]]") });
  fc.assert(
    fc.property(soup, (text) => {
      const { diagnostics } = parseNginxConfig("x", text);
      return diagnostics.every(({ code, place }) => code === "config_syntax" && place.line >= 1 && place.column >= 1);
    }),
    { numRuns: 500 },
  );
});

type Named = (string | Named[])[];

function names(found: ConfigDirective): Named {
  const own = [found.name, ...found.args.map(({ text }) => text)];
  return found.block === undefined ? own : [...own, found.block.map(names)];
}
