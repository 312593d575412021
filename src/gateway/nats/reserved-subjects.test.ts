import fc from "fast-check";
import { expect, test } from "vitest";
import { inboxNames } from "./inbox-names.ts";
import { acknowledgedConsumer, publishUse, subscribeUse } from "./reserved-subjects.ts";

test.each(["a", "build.x", "$KV.bucket.key", "$O.bucket.x", "_private.x", "INBOX.x", "a.$JS.API"])(
  "%s is policy's matter",
  (subject) => {
    expect(publishUse(subject)).toEqual({ kind: "policy" });
    expect(subscribeUse(subject)).toEqual({ kind: "policy" });
  },
);

test.each([
  ["$JS.API.CONSUMER.MSG.NEXT.S.C", "S.C"],
  ["$JS.API.CONSUMER.INFO.S.C", "S.C"],
  ["$JS.ACK.S.C.1.2.3.4.5", "S.C"],
  ["$JS.ACK._.hash.S.C.1.2.3.4.5", "S.C"],
  ["$JS.ACK.domain.hash.S.C.1.2.3.4.5.random", "S.C"],
  ["$JS.API.INFO", "*.*"],
])("%s is fetching from %s", (subject, consumer) => {
  expect(publishUse(subject)).toEqual({ kind: "pull", consumer });
});

test.each([
  "$JS.API.CONSUMER.MSG.NEXT.S",
  "$JS.API.CONSUMER.MSG.NEXT.S.C.D",
  "$JS.API.CONSUMER.CREATE.S.C",
  "$JS.API.STREAM.PURGE.S",
  "$JS.API",
  "$JS.ACK.S.C",
  "$JS.ACK.S.C.1.2.3.4",
  "$JS.ACK.S.C.1.2.3.4.5.6",
  "$JS.ACK.S.C.1.2.3.x.5",
  "$JS.hub.API.CONSUMER.MSG.NEXT.S.C",
  "$SYS.REQ.USER.AUTH",
  "$KVx.a",
  "$",
  "_INBOX",
  "_INBOX.x",
  "_INBOXES.x",
  "_R_.x",
  "_GR_.x",
])("%s is nobody's to publish to", (subject) => {
  expect(publishUse(subject)).toMatchObject({ kind: "reserved" });
});

test.each([">", "*", "*.x", "$JS.ACK.S.C.1.2.3.4.5", "_INBOX.x", "$SYS.>"])(
  "%s is nobody's to listen to",
  (subject) => {
    expect(subscribeUse(subject)).toMatchObject({ kind: "reserved", why: expect.stringMatching(/\w/) });
  },
);

test("an acknowledgement never leads to a consumer that its subject does not name in that place", () => {
  const token = fc.stringMatching(/^[A-Za-z0-9_]{1,4}$/);
  fc.assert(
    fc.property(fc.array(token, { maxLength: 12 }), (tokens) => {
      const subject = ["$JS", "ACK", ...tokens].join(".");
      const consumer = acknowledgedConsumer(subject);
      if (consumer === undefined) return true;
      const at = tokens.length === 7 ? 0 : 2;
      return [7, 9, 10].includes(tokens.length) && consumer === `${tokens[at]}.${tokens[at + 1]}`;
    }),
  );
});

const names = inboxNames("_INBOX_0123456789abcdef");

test.each([
  ["_INBOX.abc", "_INBOX_0123456789abcdef.abc"],
  ["_INBOX.>", "_INBOX_0123456789abcdef.>"],
  ["_INBOX_0123456789abcdef.abc", "_INBOX_0123456789abcdef.abc"],
])("the client's %s is %s at the server", (subject, expected) => expect(names.toServer(subject)).toBe(expected));

test.each([
  "_INBOX",
  "_INBOX_0123456789abcdef",
  "_INBOX_0123456789abcdeF.x",
  "_INBOX_.x",
  "_INBOXx.y",
  "a._INBOX.x",
  "_INBOX.a.batch.10.ok.1.0.$FI",
  "_INBOX_0123456789abcdef.a.batch.10.ok.2.2.$FI",
  "",
  ">",
])("%s is no inbox of the job", (subject) => expect(names.toServer(subject)).toBeUndefined());

test("what goes to the server as the client's own comes back as the client's own", () => {
  fc.assert(
    fc.property(
      fc.stringMatching(/^[a-z.*>]{1,8}$/),
      (rest) => names.toClient(names.toServer(`_INBOX.${rest}`) ?? "") === `_INBOX.${rest}`,
    ),
  );
  expect(names.toClient("_INBOX_other.x")).toBe("_INBOX_other.x");
});
