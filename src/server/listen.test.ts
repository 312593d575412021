import { expect, test } from "vitest";
import { listenAt } from "./listen.ts";

const at = { setting: "listen.address", host: "127.0.0.1", port: 8700 };
const failing = (code: string) => () => Promise.reject(Object.assign(new Error("listen"), { code }));

test.each([
  { code: "EADDRINUSE", says: "another process listens there: stop it, or choose another port" },
  { code: "EADDRNOTAVAIL", says: "this machine has no such address: choose one of its own" },
  { code: "EACCES", says: "this user may not: choose a port from 1024 on" },
])("$code is told with the setting and the fix", async ({ code, says }) => {
  await expect(listenAt(at, failing(code))).rejects.toMatchObject({
    code: "config_invalid",
    message: `listen.address 127.0.0.1:8700 cannot be had: ${says}.`,
  });
});

test("anything else stays what it is", async () => {
  await expect(listenAt(at, failing("EMFILE"))).rejects.toMatchObject({ code: "EMFILE" });
  await expect(listenAt(at, async () => 7)).resolves.toBe(7);
});
