import { assertEquals } from "@std/assert";
import { isAllowedHost, isHostPattern, isLoopback, LOOPBACK_HOSTS } from "../../lib/server/allowed_host.ts";

for (
  const [host, allowed, isAllowed] of [
    ["app.example", ["app.example"], true],
    ["APP.example.:8080", ["App.Example"], true],
    ["app.example:", ["app.example"], true],
    ["sub.app.example", ["app.example"], false],
    ["sub.app.example", ["*.app.example"], true],
    ["a.b.app.example", ["*.app.example"], true],
    ["app.example", ["*.app.example"], false],
    ["xapp.example", ["*.app.example"], false],
    ["app.example.evil", ["app.example", "*.app.example"], false],
    ["xn--bcher-kva.example", ["b\u00fccher.example"], true],
    ["b\u00fccher.example", ["b\u00fccher.example"], false],
    ["[::1]:6455", ["[::1]"], true],
    ["[0:0:0:0:0:0:0:1]", ["[::1]"], true],
    ["10.0.0.7", ["*"], true],
    ["127.0.0.1", LOOPBACK_HOSTS, true],
    ["127.1:6455", LOOPBACK_HOSTS, true],
    ["app.localhost", LOOPBACK_HOSTS, true],
    ["127.0.0.1.example", LOOPBACK_HOSTS, false],
    ["127.0.0.\u00b2", LOOPBACK_HOSTS, false],
    ["%6cocalhost", LOOPBACK_HOSTS, false],
    ["localhost@evil.example", LOOPBACK_HOSTS, false],
    ["localhost/x", LOOPBACK_HOSTS, false],
    ["localhost:99999", LOOPBACK_HOSTS, false],
    ["0.0.0.0", LOOPBACK_HOSTS, false],
    ["a b", ["*"], false],
    ["", ["*"], false],
    ["undefined", ["not a host"], false],
    ["app.example", [], false],
  ] as const
) {
  const verb = isAllowed ? "takes" : "refuses";
  Deno.test(`isAllowedHost() ${verb} ${JSON.stringify(host)}, when ${JSON.stringify(allowed)} may be named`, () => {
    assertEquals(isAllowedHost(host, allowed), isAllowed);
  });
}

Deno.test("isHostPattern() accepts hosts, wildcards and addresses, and nothing with a port or more", () => {
  const good = [
    "app.example",
    "*.app.example",
    "localhost",
    "10.0.0.7",
    "[::1]",
    "127.0.0.0/8",
    "*",
    "b\u00fccher.example",
  ];
  const bad = [
    "",
    "*.",
    "a:80",
    "[::1]:80",
    "[::1",
    "http://a",
    "a/b",
    "a b",
    "*.*.a",
    "a*",
    "10.0.0.0/8",
    "::1",
    "u@a",
  ];
  assertEquals(good.filter((text) => !isHostPattern(text)), []);
  assertEquals(bad.filter((text) => isHostPattern(text)), []);
});

Deno.test("isLoopback() distinguishes loopback addresses from their names", () => {
  assertEquals(["127.0.0.9", "LOCALHOST", "::1"].map(isLoopback), [true, true, true]);
  assertEquals(["::", "0.0.0.0", "app.localhost", "127.0.0.1:80", "[::1]", ""].map(isLoopback), Array(6).fill(false));
});
