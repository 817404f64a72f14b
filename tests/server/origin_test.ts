import { assertEquals } from "@std/assert";
import { isAllowedOrigin, isOriginPattern } from "../../lib/server/origin.ts";

for (
  const [origin, pattern, isAllowed] of [
    ["https://app.example", "https://app.example", true],
    ["https://APP.example", "https://app.EXAMPLE", true],
    ["https://app.example:443", "https://app.example", true],
    ["https://app.example:8443", "https://app.example", false],
    ["https://app.example:8443", "https://app.example:8443", true],
    ["http://app.example", "https://app.example", false],
    ["https://chat.app.example", "https://app.example", false],
    ["https://chat.app.example", "https://*.app.example", true],
    ["https://a.b.app.example", "https://*.app.example", true],
    ["https://app.example", "https://*.app.example", false],
    ["https://evilapp.example", "https://*.app.example", false],
    ["https://app.example.evil.example", "https://*.app.example", false],
    ["https://chat.app.example:8443", "https://*.app.example", false],
    ["http://127.0.0.1:6455", "http://127.0.0.1:6455", true],
    ["http://[::1]:6455", "http://[::1]:6455", true],
    ["chrome-extension://abcdef", "chrome-extension://abcdef", true],
    ["null", "null", true],
    ["null", "https://app.example", false],
    ["https://app.example", "null", false],
    ["null", "*", true],
    ["https://app.example, https://evil.example", "https://app.example", false],
    ["https://app.example/path", "https://app.example", false],
    ["https://user@app.example", "https://app.example", false],
    ["", "https://app.example", false],
    ["rubbish", "rubbish", false],
  ] as const
) {
  Deno.test(`isAllowedOrigin() ${isAllowed ? "lets" : "does not let"} "${origin}" in where "${pattern}" may`, () => {
    assertEquals(isAllowedOrigin(origin, [pattern]), isAllowed);
  });
}

Deno.test("isOriginPattern() accepts the entries that a list can have", () => {
  const good = ["*", "null", "https://app.example", "https://*.app.example:8443", "http://localhost:3000"];
  const bad = [
    "",
    "app.example",
    "https://",
    "https://app.example/path",
    "https://*app.example",
    "https://a.*.example",
    "*.example",
  ];
  assertEquals(good.filter((text) => !isOriginPattern(text)), []);
  assertEquals(bad.filter(isOriginPattern), []);
});
