/** The command that runs a case again: what a user gave is there, and no secret. */

import { assertEquals } from "@std/assert";
import { againCommand } from "../../lib/cli/check_again.ts";
import { CHECK_OPTIONS } from "../../lib/cli/check_settings.ts";
import { parseCommandLine } from "../../lib/cli/command_line.ts";

const URL_TEXT = "ws://127.0.0.1/";

function again(...words: string[]): string {
  const command = againCommand(parseCommandLine([...words, URL_TEXT], CHECK_OPTIONS), URL_TEXT);
  return command.replace(/^wsproof check --trace ?/, "").replace(URL_TEXT, "").trim();
}

for (
  const words of [
    ["--no-echo"],
    ["--case-timeout", "3"],
    ["--skip", "2"],
    ["-p", "chat", "-p", "other"],
    ["--origin", "https://example.com"],
    ["--ca", "/etc/ca.pem"],
    ["--cert", "a.pem", "--key", "a.key"],
    ["--proxy", "none"],
    ["--unix", "/run/ws.sock"],
    ["--connect-timeout", "1.5"],
    ["-H", "X-A:b"],
  ]
) {
  Deno.test(`againCommand() repeats ${words.join(" ")}`, () => {
    assertEquals(again(...words).replace("X-A: b", "X-A:b").replaceAll("'", ""), words.join(" "));
  });
}

for (
  const [given, shown] of [
    [["-H", "Authorization: Bearer abc"], "-H 'Authorization: ***'"],
    [["-H", "Cookie: a=abc", "-H", "X-Token: abc"], "-H 'Cookie: ***' -H 'X-Token: ***'"],
    [["--proxy", "http://me:abc@proxy:3128"], "--proxy 'http://me:***@proxy:3128'"],
    [["-p", "chat, wsproof.bearer.abc"], "-p 'chat,wsproof.bearer.***'"],
  ] as const
) {
  Deno.test(`againCommand() leaves out the secret of ${given.join(" ")}`, () => {
    assertEquals(again(...given), shown);
  });
}

Deno.test("againCommand() leaves out the password of the URL", () => {
  const line = parseCommandLine(["ws://me:abc@127.0.0.1/"], CHECK_OPTIONS);
  assertEquals(againCommand(line, "ws://me:abc@127.0.0.1/"), "wsproof check --trace 'ws://me:***@127.0.0.1/'");
});

Deno.test("againCommand() leaves out the options for cases and reports", () => {
  assertEquals(again("--strict", "--html", "x.html", "-j", "2", "--json", "--profile", "full"), "");
});

Deno.test({
  name: "againCommand() quotes words so that a shell returns them unchanged",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const values = ['^it\'s $HOME `x` \\ "!" *$', "X-A: it's; rm -rf /"];
    const command = again("--reply-match", values[0] ?? "", "-H", values[1] ?? "");
    const shell = new Deno.Command("sh", { args: ["-c", `printf '%s\\n' ${command}`] });
    const { stdout } = await shell.output();
    assertEquals(new TextDecoder().decode(stdout).trimEnd().split("\n"), [
      "--reply-match",
      values[0],
      "-H",
      values[1],
    ]);
  },
});
