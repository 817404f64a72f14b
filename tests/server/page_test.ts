/** The echo server's answer to `GET /`: one self-contained page. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { createPage, type PageOptions } from "../../lib/server/page.ts";
import { CLOSE_CODES, describeCloseCode } from "../../lib/protocol/close.ts";

const ROOT = new URL("../../", import.meta.url);

Deno.test("createPage() answers with one complete page that is not stored and allows no other script", async () => {
  const page = createPage();
  const response = page();
  assertEquals(response.status, 200);
  assertEquals(response.headers.get("content-type"), "text/html; charset=utf-8");
  assertEquals(response.headers.get("cache-control"), "no-store");
  assertEquals(response.headers.get("x-content-type-options"), "nosniff");
  assertEquals(response.headers.get("referrer-policy"), "no-referrer");
  const policy = response.headers.get("content-security-policy") ?? "";
  assertEquals(policy.replaceAll(/'sha256-[\w+/]{43}='/g, "HASH").split("; "), [
    "default-src 'none'",
    "script-src HASH",
    "style-src HASH",
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ]);
  const text = await response.text();
  assertEquals(await page().text(), text);
  assertEquals([...text.matchAll(/<\/script>/g)].length, 2);
  assertEquals([...text.matchAll(/<\/style>/g)].length, 1);
  assertEquals(
    text.match(/\s(?:style|on\w+)=|\bsrc=|https?:\/\/(?!www\.w3\.org\/2000\/svg|jsr\.io\/@wsproof\/wsproof\/doc)/),
    null,
  );
});

Deno.test("createPage() names what is inlined by its hash", async () => {
  const response = createPage()();
  const policy = response.headers.get("content-security-policy") ?? "";
  const text = await response.text();
  for (const part of [/<style>(.*?)<\/style>/s, /<script type="module">(.*?)<\/script>/s]) {
    const content = new TextEncoder().encode(part.exec(text)?.[1]);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content)).toBase64();
    assertStringIncludes(policy, `'sha256-${hash}'`);
  }
});

Deno.test("createPage() embeds its data and every close code, so that no text can end the element", async () => {
  const options: PageOptions = { protocols: ["chat", "</script><script>"], needsToken: true, maxMessageBytes: 7 };
  const text = await createPage(options)().text();
  const json = /id="settings">(.*?)<\/script>/s.exec(text)?.[1] ?? "";
  assert(!json.includes("<"), json);
  const settings = JSON.parse(json);
  assertEquals(settings.protocols, options.protocols);
  assertEquals(settings.needsToken, true);
  assertEquals(settings.maxMessageBytes, 7);
  for (const [code, info] of CLOSE_CODES) assertEquals(settings.closeCodes[code], { ...info });
  assertEquals(
    settings.closeRanges.map(({ to, name }: { to: number; name: string }) => `${to} (${name})`),
    [2999, 3999, 4999].map(describeCloseCode),
  );
});

Deno.test("the script and the server agree about tokens and unprintable characters", async () => {
  const scripts = await Promise.all(
    ["fields", "text"].map((name) => Deno.readTextFile(new URL(`lib/server/page/${name}.js`, ROOT))),
  );
  const script = scripts.join("");
  const sources = await Promise.all(
    ["token", "message"].map((name) => Deno.readTextFile(new URL(`lib/protocol/${name}.ts`, ROOT))),
  );
  const [token, unprintable] = [/\/\^\[!#.*?\]\+\$\//, /\/\[\\0-.*?\]\//];
  assertEquals(token.exec(script)?.[0], token.exec(sources[0] ?? "")?.[0]);
  assertEquals(unprintable.exec(script)?.[0], unprintable.exec(sources[1] ?? "")?.[0]);
  assert(token.test(script) && unprintable.test(script));
});

Deno.test("the types of the script are right", async () => {
  // A browser's types cannot be checked together with Deno's: so not in `deno task types`.
  const folder = await Deno.makeTempDir();
  const config = `${folder}/deno.json`;
  const compilerOptions = { checkJs: true, noUncheckedIndexedAccess: true, lib: ["esnext", "dom", "dom.iterable"] };
  await Deno.writeTextFile(config, JSON.stringify({ compilerOptions }));
  const args = ["check", "--quiet", "--config", config, new URL("lib/server/page/page.js", ROOT).pathname];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } }).output();
  await Deno.remove(folder, { recursive: true });
  assert(success, new TextDecoder().decode(stderr));
});
