import fc from "fast-check";
import { expect, test } from "vitest";
import { cutAt, readServer } from "./wire.fake.ts";

const info = '{"server_id":"N","max_payload":1048576}';
const status = "NATS/1.0 503\r\n\r\n";

test.each([
  [`INFO ${info}\r\n`, ["info", info]],
  [`INFO ${info} \r\n`, ["info", info]],
  ["MSG a 1 5\r\nhello\r\n", ["message", "a", "1", "", "", "hello"]],
  ["MSG a 1 r.1 5\r\nhello\r\n", ["message", "a", "1", "r.1", "", "hello"]],
  ["MSG a 1 5 5\r\nhello\r\n", ["message", "a", "1", "5", "", "hello"]],
  ["MSG a 1 0\r\n\r\n", ["message", "a", "1", "", "", ""]],
  ["MSG caf\xc3\xa9.x..y 1 0\r\n\r\n", ["message", "café.x..y", "1", "", "", ""]],
  ["MSG a*b.> 1 r.* 0\r\n\r\n", ["message", "a*b.>", "1", "r.*", "", ""]],
  [`HMSG a 1 ${status.length} ${status.length}\r\n${status}\r\n`, ["message", "a", "1", "", status, ""]],
  [`HMSG a 1 r 16 18\r\n${status}hi\r\n`, ["message", "a", "1", "r", status, "hi"]],
  ["HMSG a 1 4 6\r\nwhathi\r\n", ["message", "a", "1", "", "what", "hi"]],
  ["+OK\r\n", ["ok"]],
  ["-ERR 'Permissions Violation for Publish to \"a\"'\r\n", ["error", 'Permissions Violation for Publish to "a"']],
  ["-ERR ''\r\n", ["error", ""]],
  ["PING\r\n", ["ping"]],
  ["PONG\r\n", ["pong"]],
])("told: %j", (wire, told) => {
  expect(readServer([wire])).toEqual([told]);
  expect(readServer([...wire])).toEqual([told]);
});

test.each([
  ["nothing it says", "HELLO\r\n", "operation_unknown"],
  ["lower case", "ping\r\n", "operation_unknown"],
  ["a client's PUB", "PUB a 0\r\n\r\n", "operation_unknown"],
  ["a space after PONG", "PONG \r\n", "operation_unknown"],
  ["two in one word", "PINGPONG\r\n", "operation_unknown"],
  ["a tab", "MSG\ta 1 0\r\n\r\n", "operation_unknown"],
  ["LF alone", "PING\n", "operation_malformed"],
  ["two spaces", "MSG a  1 0\r\n\r\n", "operation_malformed"],
  ["an empty reply", "MSG a 1  0\r\n\r\n", "operation_malformed"],
  ["no sid", "MSG a 0\r\n\r\n", "operation_malformed"],
  ["a sign", "MSG a 1 +0\r\n\r\n", "operation_malformed"],
  ["a leading zero", "MSG a 1 05\r\nhello\r\n", "operation_malformed"],
  ["a subject with a control character", "MSG a\x01 1 0\r\n\r\n", "operation_malformed"],
  ["a subject that is not UTF-8", "MSG \xff 1 0\r\n\r\n", "operation_malformed"],
  ["a size that is wrong", "MSG a 1 4\r\nhello\r\n", "operation_malformed"],
  ["no header bytes", "HMSG a 1 0 5\r\nhello\r\n", "operation_malformed"],
  ["more header bytes than bytes", "HMSG a 1 6 5\r\nhello\r\n", "operation_malformed"],
  ["one size of two", "HMSG a 1 5\r\nhello\r\n", "operation_malformed"],
  ["INFO without JSON", "INFO \r\n", "operation_malformed"],
  ["INFO with more behind", "INFO {} {\r\n", "operation_malformed"],
  ["an error without apostrophes", "-ERR x\r\n", "operation_malformed"],
  ["an error with a CR in it", "-ERR 'a\rb'\r\n", "operation_malformed"],
  ["a payload that is too large", "MSG a 1 65537\r\n", "payload_too_large"],
  ["a line that is too long", "M".repeat(5000), "line_too_long"],
])("refused: %s", (_, wire, code) => {
  expect(readServer([`PONG\r\n${wire}`, "PING\r\n"])).toEqual([["pong"], ["violation", code]]);
});

const pieces = fc.constantFrom(
  "MSG a.b 1 5\r\nhello\r\n",
  "MSG a.b 1 r 12\r\nMSG x 1 0\r\n\r\n\r\n",
  `HMSG a 2 r ${status.length} 18\r\n${status}hi\r\n`,
  "+OK\r\n",
  "-ERR 'x'\r\n",
  "PING\r\n",
  `INFO ${info} \r\n`,
  "MSG ",
  "\r\n",
  "\n",
  " ",
);

test("where a stream is split changes nothing of what is told", () => {
  fc.assert(
    fc.property(fc.array(pieces, { maxLength: 10 }), fc.array(fc.nat(), { maxLength: 8 }), (parts, places) => {
      const wire = parts.join("");
      expect(readServer(cutAt(wire, places))).toEqual(readServer([wire]));
    }),
    { numRuns: 500 },
  );
});
