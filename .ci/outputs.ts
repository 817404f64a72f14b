/**
 * Runs the commands that a newcomer pastes: those of all `console` blocks in the README and the documents, top to
 * bottom, in a terminal of 80 columns. It compares the screen with the document, and draws the recording of the README.
 * It also makes the common mistakes of `tests/support/mistakes.ts`, for their table in docs/troubleshooting.md.
 *
 * With `--write` the documents and the recording get the actual output. A comment above a block names a command to run
 * beside it: `<!-- beside: deno task -q lab -->`. The default port 6455 must be free.
 */

import { record } from "./recording.ts";
import { run, type Screen, textOf } from "./screen.ts";
import { make, MISTAKES, tableIn, tableOf } from "../tests/support/mistakes.ts";

const ROOT = new URL("../", import.meta.url);
const RECORDING = new URL("assets/run.svg", ROOT);

/** The document whose runs beside a server are recorded. */
const RECORDED = "README.md";

/** A `console` block, and the command beside it. */
const BLOCK = /(?:<!-- beside: (.+?) -->\n\n)?```console\n([^]*?)```/g;

const isWriting = Deno.args.includes("--write");
const problems: string[] = [];

/** A folder whose `deno` is the running one, as on a newcomer's PATH. */
const bin = await Deno.makeTempDir();
await Deno.symlink(Deno.execPath(), `${bin}/deno`);
const env = { PATH: `${bin}:${Deno.env.get("PATH")}` };

/** Removes the varying parts: durations, rates, ports of the system, random bytes. */
function steady(text: string): string {
  return text
    .replace(/\d+(\.\d+)? m?s\b/g, "N ms")
    .replace(/\d+(\.\d+)? [KMG]iB\/s\b/g, "N MiB/s")
    .replace(/(127\.0\.0\.1|\[::1\]):(?!6455)\d+/g, "$1:PORT")
    .replace(/ +/g, " ")
    .replace(/\b[0-9a-f]{2}( [0-9a-f]{2}){3}\b/g, "BYTES");
}

/** Starts a command beside others, and waits until it listens; returns a function to end it. */
async function start(command: string): Promise<() => Promise<unknown>> {
  const [program = "", ...args] = command.split(" ");
  const child = new Deno.Command(program === "deno" ? Deno.execPath() : program, {
    args,
    cwd: ROOT,
    env,
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  while (!text.includes("Listening on ")) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`${command} ended: ${text}`);
    text += value;
  }
  const read = (async () => {
    while (!(await reader.read()).done) continue;
  })();
  return async () => {
    child.kill("SIGTERM");
    await read;
    await child.status;
  };
}

/** The runs of the recording: their commands and screens. */
const recorded: { command: string; screen: Screen }[] = [];

async function runBlock(path: string, beside: string | undefined, block: string): Promise<string> {
  const stop = beside === undefined ? undefined : await start(beside);
  try {
    let printed = "";
    for (const [, command = ""] of block.matchAll(/^\$ (.*)$/gm)) {
      const screen = await run(command, { env: { ...env, NO_COLOR: "1" } });
      printed += `$ ${command}\n${withoutNotice(textOf(screen))}`;
      if (path === RECORDED && beside !== undefined) {
        recorded.push({ command, screen: await run(command, { env: { ...env, NO_COLOR: "" } }) });
      }
    }
    return printed;
  } finally {
    await stop?.();
  }
}

/** Drops the notice of a machine that cannot reach JSR. */
function withoutNotice(text: string): string {
  return text.replace(/^std: the stand-ins of offline\/[^]*?decides again\.\n/m, "");
}

async function documents(): Promise<string[]> {
  const paths = ["README.md"];
  for await (const { name } of Deno.readDir(new URL("docs/", ROOT))) {
    if (name.endsWith(".md")) paths.push(`docs/${name}`);
  }
  return paths.sort();
}

for (const path of await documents()) {
  let document = await Deno.readTextFile(new URL(path, ROOT));
  for (const [whole, beside, block = ""] of [...document.matchAll(BLOCK)]) {
    const printed = await runBlock(path, beside, block);
    const isSame = steady(printed) === steady(block);
    console.log(`${isSame ? "the same" : "ANOTHER"}: ${path}: ${/^\$ (.*)$/m.exec(block)?.[1]}`);
    if (isSame) continue;
    if (!isWriting) problems.push(`${path} shows\n\n${block}\nand this is printed:\n\n${printed}`);
    document = document.replace(whole, () => whole.replace(block, () => printed));
  }
  if (isWriting) await Deno.writeTextFile(new URL(path, ROOT), document);
}

const mistakesPath = new URL("docs/troubleshooting.md", ROOT);
const troubleshooting = await Deno.readTextFile(mistakesPath);
const answers = [];
for (const mistake of MISTAKES) answers.push([mistake, await make(mistake)] as const);
const [table, formerTable] = [tableOf(answers), tableIn(troubleshooting)];
console.log(`${table === formerTable ? "the same" : "ANOTHER"}: docs/troubleshooting.md: the common mistakes`);
if (table !== formerTable && isWriting) {
  await Deno.writeTextFile(mistakesPath, troubleshooting.replace(formerTable, () => table));
}
if (table !== formerTable && !isWriting) problems.push(`The table of mistakes is another:\n\n${table}`);

const svg = record(recorded.map(({ command, screen }) => ({ command, lines: noticeLess(screen) })));
const former = await Deno.readTextFile(RECORDING).catch(() => "");
const isSame = steady(former) === steady(svg);
console.log(`${isSame ? "the same" : "ANOTHER"}: the recording of the README`);
if (!isSame && isWriting) await Deno.writeTextFile(RECORDING, svg);
if (!isSame && !isWriting) problems.push("The recording is another: run .ci/outputs.ts --write");

function noticeLess(screen: Screen): Screen["lines"] {
  const first = screen.lines[0]?.map(({ text }) => text).join("") ?? "";
  return first.startsWith("std: the stand-ins") ? screen.lines.slice(1) : screen.lines;
}

await Deno.remove(bin, { recursive: true });
for (const problem of problems) console.error(`\n${problem}`);
Deno.exit(problems.length > 0 ? 1 : 0);
