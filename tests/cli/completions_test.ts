/** Completions in real shells. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { CLIENT_OPTIONS } from "../../lib/cli/client_settings.ts";
import { completionsFor } from "../../lib/cli/completions.ts";
import { UsageError } from "../../lib/cli/command_line.ts";
import { LAB_OPTIONS, SERVER_OPTIONS } from "../../lib/cli/server_settings.ts";

const run = () => Promise.resolve(0);
const COMMANDS = {
  serve: { usage: "", help: "Run the echo server", run, options: () => Promise.resolve(SERVER_OPTIONS) },
  lab: { usage: "", help: "Run a peer's lab", run, options: () => Promise.resolve(LAB_OPTIONS) },
  help: { usage: "", help: "Show this help", run, words: () => Promise.resolve(["serve", "message"]) },
};

const SHELLS = ["bash", "zsh", "fish"] as const;

/** The shells of this machine. */
const present: readonly string[] = SHELLS.filter((shell) => {
  try {
    return new Deno.Command(shell, { args: ["-c", "exit"], stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
});

/** Completes words with the cursor in the last one. */
const COMPLETE: Record<string, (words: string[]) => string> = {
  bash: (words) =>
    `COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}; _wsproof; ` +
    `printf '%s\\n' "\${COMPREPLY[@]}"`,
  fish: (words) => `complete -C '${words.join(" ")}'`,
};

async function completed(shell: "bash" | "fish", ...words: string[]): Promise<string[]> {
  const script = `${await completionsFor([shell], COMMANDS)}\n${COMPLETE[shell]?.(["wsproof", ...words])}\n`;
  const { code, stdout, stderr } = await new Deno.Command(shell, {
    args: [...shell === "bash" ? ["--norc"] : ["--no-config"], "-c", script],
    cwd: new URL("../../", import.meta.url),
  }).output();
  assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
  const lines = new TextDecoder().decode(stdout).split("\n").filter((line) => line !== "");
  return lines.map((line) => line.split("\t")[0] ?? "").sort();
}

for (const shell of ["bash", "fish"] as const) {
  const ignore = !present.includes(shell);
  for (
    const [words, expected] of [
      [["--trans"], ["--transport"]],
      [["--transport", ""], ["builtin", "wire"]],
      [["--transport", "w"], ["wire"]],
      [["se"], ["serve"]],
      [["help", ""], ["message", "serve"]],
      [["serve", "--max-mess"], ["--max-message"]],
      [["serve", "--log", "j"], ["json"]],
      [["lab", "--max-mess"], []],
      [["--message", "b"], []],
      [["-f", "deno.j"], ["deno.json"]],
      [["-m", "serve", "--repl"], ["--reply", "--reply-any", "--reply-match", "--reply-none", "--reply-timeout"]],
    ] as const
  ) {
    Deno.test({
      name: `${shell} completes ${JSON.stringify(words)} to ${JSON.stringify(expected)}`,
      ignore,
      fn: async () => assertEquals(await completed(shell, ...words), [...expected]),
    });
  }
}

Deno.test({
  name: "bash completes the value after =, which it takes for a word",
  ignore: !present.includes("bash"),
  fn: async () => {
    assertEquals(await completed("bash", "--transport", "="), ["builtin", "wire"]);
    assertEquals(await completed("bash", "--transport", "=", "b"), ["builtin"]);
  },
});

Deno.test({
  name: "bash completes every option of the client",
  ignore: !present.includes("bash"),
  fn: async () => {
    const options = CLIENT_OPTIONS.flatMap(({ name, short }) => [`--${name}`, ...short ? [`-${short}`] : []]);
    assertEquals(await completed("bash", "-"), options.sort());
  },
});

for (const shell of SHELLS) {
  Deno.test({
    name: `completionsFor() writes a script that ${shell} reads, with every option of the client`,
    ignore: !present.includes(shell),
    fn: async () => {
      const script = await completionsFor([shell], COMMANDS);
      const path = await Deno.makeTempFile();
      await Deno.writeTextFile(path, script);
      const { code, stderr } = await new Deno.Command(shell, { args: ["-n", path] }).output();
      await Deno.remove(path);
      assertEquals([code, new TextDecoder().decode(stderr)], [0, ""]);
      for (const { name } of CLIENT_OPTIONS) assert(script.includes(name), name);
    },
  });
}

Deno.test("completionsFor() escapes shell syntax in a help text", async () => {
  const tricky = { x: { usage: "", help: "It's [a]: \\ 'b'", run } };
  assertStringIncludes(await completionsFor(["zsh"], tricky), String.raw`'x:It'\''s \[a\]\: \\ '\''b'\'''`);
  assertStringIncludes(await completionsFor(["fish"], tricky), String.raw`-a x -d 'It\'s [a]: \\ \'b\''`);
});

for (const args of [[], ["powershell"], ["bash", "zsh"], ["toString"]]) {
  Deno.test(`completionsFor() names the shells, when the words are ${JSON.stringify(args)}`, async () => {
    await assertRejects(() => completionsFor(args, {}), UsageError, "needs one shell: bash, zsh, fish");
  });
}
