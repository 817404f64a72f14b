/** Runs a command in its own terminal (bsdutils' script), as a person does. */

import { assert } from "@std/assert";

/** Whether a terminal can run commands here. */
export const hasTerminal = Deno.build.os === "linux" &&
  await Deno.stat("/usr/bin/script").then(() => true, () => false);

/** Deadline for a command in a terminal, in milliseconds. */
const TERMINAL_TIMEOUT_MS = 60_000;

/** A terminal turns Ctrl-C into SIGINT for all its processes. */
export const CTRL_C = "\u0003";

/** Options of the terminal. */
export interface TerminalOptions {
  /** Its columns; by default unknown, which means 80. */
  readonly columns?: number;
  /** Its kind, as in the variable TERM. */
  readonly kind?: string;
  /** A shell command to run afterwards, whatever the first exit code. */
  readonly after?: string;
}

/** The state of a terminal in which a process reads lines, as in `stty -a`. */
export const COOKED = / icanon [^]* echo /;

/** A command in a terminal; dispose of it to end it. */
export class Terminal implements AsyncDisposable {
  /** The screen so far. */
  screen = "";
  readonly #child: Deno.ChildProcess;
  readonly #columns: number;
  readonly #reading: Promise<void>;
  #more = Promise.withResolvers<boolean>();
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #timer: ReturnType<typeof setTimeout>;

  /** Runs Deno with these words, none of which needs quotes in the shell. */
  constructor(...given: readonly (TerminalOptions | string)[]) {
    const words = given.filter((word) => typeof word === "string");
    const { columns, kind = "xterm", after } = given.find((option) => typeof option !== "string") ?? {};
    const size = columns === undefined ? "" : `stty cols ${columns} rows 40; `;
    const command = [Deno.execPath(), ...words].join(" ");
    this.#columns = columns ?? 80;
    this.#child = new Deno.Command("script", {
      // Without `exec`, Ctrl-C would end the shell too (dash, where SHELL is not set).
      args: [
        "-qec",
        `${size}${after === undefined ? `exec ${command}` : `${command}; code=$?; ${after}; exit $code`}`,
        "/dev/null",
      ],
      cwd: new URL("../..", import.meta.url),
      env: { NO_COLOR: "1", TERM: kind },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#reading = this.#readAll(this.#child.stdout.pipeThrough(new TextDecoderStream()));
    this.#writer = this.#child.stdin.getWriter();
    this.#timer = setTimeout(() => this.#child.kill("SIGKILL"), TERMINAL_TIMEOUT_MS);
  }

  /** Reads the screen until a text appears, wrapped or not. */
  async until(text: string): Promise<void> {
    while (!this.screen.includes(text) && !this.screen.replace(/\s+/g, " ").includes(text)) {
      assert(await this.#read(), `The terminal ended before "${text}":\n${this.screen}`);
    }
  }

  /** The visible lines of the screen, without trailing blanks. */
  get lines(): string[] {
    return render(this.screen, this.#columns);
  }

  /** Reads the screen until its visible lines match. */
  async untilSeen(isSeen: (lines: string[]) => boolean): Promise<void> {
    while (!isSeen(this.lines)) assert(await this.#read(), `The terminal ended:\n${this.lines.join("\n")}`);
  }

  /** Sends a signal to the command; rejects once the command has ended, as what runs after it must not be hit. */
  async kill(signal: Deno.Signal): Promise<void> {
    let pid = this.#child.pid;
    for (let children = await childrenOf(pid); children.length > 0; children = await childrenOf(pid)) {
      pid = children[0] ?? pid;
    }
    // A process name of Linux has 15 characters at most.
    const own = Deno.execPath().replace(/^.*\//, "").slice(0, 15);
    if (await readProcess(pid, "comm") !== own) throw new Error("The command has ended");
    Deno.kill(pid, signal);
  }

  /** Types keys. */
  async type(keys: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(keys));
  }

  /** Waits for the end of the command; returns its exit code. */
  async ended(): Promise<number> {
    await this.#reading;
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // Already ended.
    }
    await this.ended();
    clearTimeout(this.#timer);
    await this.#writer.close().catch(() => {});
  }

  /** Waits for more output; `false` at the end. Several waits may be pending. */
  #read(): Promise<boolean> {
    return this.#more.promise;
  }

  async #readAll(output: ReadableStream<string>): Promise<void> {
    for await (const text of output) {
      this.screen += text;
      this.#more.resolve(true);
      this.#more = Promise.withResolvers();
    }
    this.#more.resolve(false);
  }
}

/** The child processes of a process (Linux). */
async function childrenOf(pid: number): Promise<number[]> {
  return (await readProcess(pid, `task/${pid}/children`)).split(" ").filter((word) => word !== "").map(Number);
}

/** A file below /proc of a process; empty if the process is gone. */
async function readProcess(pid: number, file: string): Promise<string> {
  // The runtime itself would need every permission for a file below /proc.
  const { stdout } = await new Deno.Command("cat", { args: [`/proc/${pid}/${file}`], stderr: "null" }).output();
  return new TextDecoder().decode(stdout).trim();
}

/** Interprets the codes that move the cursor and clear; ignores others. */
function render(output: string, columns: number): string[] {
  const lines: string[][] = [[]];
  let [row, column] = [0, 0];
  const lineAt = (index: number) => lines[index] ??= [];
  // deno-lint-ignore no-control-regex -- the codes begin with one
  for (const [token, count = "", code] of output.matchAll(/\x1b\[([\d;?]*)([A-Za-z])|[^]/gu)) {
    const n = Number(count) || 1;
    if (code === "A") row = Math.max(0, row - n);
    else if (code === "B") row += n;
    else if (code === "C") column += n;
    else if (code === "D") column = Math.max(0, column - n);
    else if (code === "G") column = n - 1;
    else if (code === "J") {
      lines.length = Math.min(lines.length, row + 1);
      lineAt(row).length = Math.min(lineAt(row).length, column);
    } else if (code === "K") lineAt(row).length = Math.min(lineAt(row).length, column);
    else if (token === "\r") column = 0;
    else if (token === "\n") row++;
    else if (code === undefined) {
      if (column === columns) [row, column] = [row + 1, 0];
      lineAt(row)[column++] = token;
    }
  }
  return Array.from(lines, (line = []) => Array.from(line, (char) => char ?? " ").join("").trimEnd());
}
