/** The place of a request: the quick way for a plain target and the way over a URL agree. */

import { assertEquals } from "@std/assert";
import { placeOf } from "../../lib/server/handshake_refusal.ts";

/** The reading of a target by URL; nothing if that is ambiguous. */
function expected(target: string, host: string): unknown {
  const path = target.replace(/^https?:\/\/[^/?#\\]*/i, "").replace(/\?.*$/s, "");
  const url = target.startsWith("/") ? `http://${host}${target}` : target;
  if (!URL.canParse(url) || /[\\#]/.test(path)) return undefined;
  const { pathname, search } = new URL(url);
  return { path: pathname, search, isAsWritten: pathname === path };
}

function shown(target: string, host: string): unknown {
  const url = target.startsWith("/") ? `http://${host}${target}` : target;
  const headers = { get: (name: string) => name === "host" ? host : null };
  const { hosts: _, ...place } = placeOf({ method: "GET", url, headers }, target) ?? { hosts: [] };
  return "path" in place ? place : undefined;
}

const HOST = "a.example:80";
const PIECES = [
  "/",
  "/",
  "a",
  ".",
  "..",
  "%2e",
  "?",
  "#",
  "\\",
  "'",
  '"',
  "<",
  "^",
  "`",
  "{",
  "|",
  "~",
  "@",
  ":",
  ";",
  "é",
];

Deno.test("placeOf() agrees with the URL, when the target is any piece of 10,000", () => {
  let seed = 1;
  const next = (count: number) => (seed = (seed * 48_271) % 0x7fffffff) % count;
  for (let turn = 0; turn < 10_000; turn++) {
    const path = `/${Array.from({ length: next(8) }, () => PIECES[next(PIECES.length)]).join("")}`;
    const target = [path, `http://${HOST}${path}`, `https://${HOST}${path}`, `http://b${path}`][next(4)] ?? path;
    assertEquals(shown(target, HOST), expected(target, HOST), target);
  }
});

Deno.test("placeOf() names the host of an absolute target and that of the field, when they differ", () => {
  const headers = { get: () => "a" };
  const hosts = (target: string) =>
    placeOf({ method: "GET", url: new URL(target, "http://a").href, headers }, target)?.hosts;
  assertEquals([hosts("/x"), hosts("http://a/x"), hosts("http://ab/x"), hosts("http://b/x")], [
    ["a"],
    ["a"],
    ["ab", "a"],
    ["b", "a"],
  ]);
});
