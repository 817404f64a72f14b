/** The options of check, from a command line. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { CASES } from "../../lib/check/cases/mod.ts";
import {
  CHECK_OPTIONS,
  checkHelp,
  type CheckSettings,
  DEFAULT_CASE_TIMEOUT_MS,
  DEFAULT_JOBS,
  readCheckSettings,
} from "../../lib/cli/check_settings.ts";
import { parseCommandLine, UsageError } from "../../lib/cli/command_line.ts";
import { PROFILES } from "../../lib/check/case.ts";

const URL_TEXT = "ws://127.0.0.1/";

async function settingsOf(...args: string[]): Promise<CheckSettings> {
  return await readCheckSettings(parseCommandLine(args, CHECK_OPTIONS), CASES);
}

Deno.test("readCheckSettings() chooses the profile standard, 8 jobs and 10 s per case, when only the URL is given", async () => {
  const settings = await settingsOf(URL_TEXT);
  assertEquals([settings.profile, settings.jobs, settings.caseTimeoutMs], ["standard", 8, 10_000]);
  assertEquals([DEFAULT_JOBS, DEFAULT_CASE_TIMEOUT_MS], [8, 10_000]);
  assertEquals([settings.echoes, settings.strict, settings.pattern], [true, false, undefined]);
  assertEquals(settings.cases.length, CASES.filter(({ profile }) => profile !== "full").length);
});

Deno.test("readCheckSettings() runs more cases with each profile", async () => {
  const counts = await Promise.all(
    PROFILES.map(async (name) => (await settingsOf("--profile", name, URL_TEXT)).cases.length),
  );
  const [quick = 0, standard = 0, full = 0] = counts;
  assert(50 < quick && quick < standard && standard < full, counts.join());
  assertEquals(full, CASES.length);
});

Deno.test("readCheckSettings() runs one case at a time with --trace, so that frames do not mix", async () => {
  assertEquals((await settingsOf("--trace", "-j", "4", URL_TEXT)).jobs, 1);
});

Deno.test("readCheckSettings() reads the connection options as the client does", async () => {
  const { open } = await settingsOf(
    "-H",
    "X-A: b",
    "-p",
    "chat",
    "--proxy",
    "none",
    "--connect-timeout",
    "3",
    URL_TEXT,
  );
  assertEquals([[...open.headers ?? []], open.protocols, open.proxy, open.connectTimeoutMs], [
    [["X-A", "b"]],
    ["chat"],
    "none",
    3000,
  ]);
});

for (
  const [names, ids] of [
    [["5.18"], ["6455/5.4/restart"]],
    [["6455/5.4/restart", "5.18"], ["6455/5.4/restart"]],
    [["6455/9.1"], ["6455/9.1/bad-extension", "6455/9.1/unknown-extension"]],
    [["6455/9.1/"], ["6455/9.1/bad-extension", "6455/9.1/unknown-extension"]],
  ] as const
) {
  Deno.test(`readCheckSettings() runs the cases that ${names.join(" and ")} names, whatever the profile`, async () => {
    const { cases } = await settingsOf("--profile", "quick", URL_TEXT, ...names);
    assertEquals(cases.map(({ id }) => id), [...ids]);
  });
}

Deno.test("readCheckSettings() accepts no part of a word as a name", async () => {
  await assertRejects(() => settingsOf(URL_TEXT, "6455/5"), UsageError, 'Operand "6455/5" is neither a group');
});

for (const url of ["ws://localhost/", "ws://127.8.9.10:80/", "ws://[::1]/", "ws://a.localhost/", "ws://0.0.0.0/"]) {
  Deno.test(`readCheckSettings() allows --stress at ${url} without another option`, async () => {
    assertEquals((await settingsOf("--stress", url)).extras.stress, true);
  });
}

for (const url of ["ws://10.0.0.1/", "ws://127.0.0.1.example/", "wss://localhost.example/"]) {
  Deno.test(`readCheckSettings() requires --i-own-this-server, when --stress goes to ${url}`, async () => {
    await assertRejects(() => settingsOf("--stress", url), UsageError, "add --i-own-this-server");
    assertEquals((await settingsOf("--stress", "--i-own-this-server", url)).extras.stress, true);
  });
}

Deno.test("checkHelp() fits 80 columns, and lists every option", () => {
  const help = checkHelp();
  assertEquals(help.split("\n").filter((line) => line.length > 80), []);
  for (const { name } of CHECK_OPTIONS) assert(help.includes(`--${name}`), name);
});

Deno.test("checkHelp() names no proxy that only the built-in WebSocket goes through", () => {
  const help = checkHelp();
  assert(help.includes("HTTP proxy") && !help.includes("SOCKS"), help);
});

Deno.test("checkHelp() lists the exit codes that check can have", () => {
  const [, codes = ""] = checkHelp().split("Exit codes: ");
  // The server broke off the first handshake: 7.
  for (
    const verdict of ["proven", "usage", "no-connection", "handshake-refused", "connection-lost", "not-conformant"]
  ) {
    assert(codes.includes(verdict), verdict);
  }
});

Deno.test("the cases have unique names, and each number of Autobahn once", () => {
  const ids = CASES.map(({ id }) => id);
  assertEquals(ids.filter((id, index) => ids.indexOf(id) !== index), []);
  const numbers = CASES.flatMap(({ autobahn = [] }) => autobahn);
  assertEquals([numbers.length, new Set(numbers).size], [301, 301]);
});
