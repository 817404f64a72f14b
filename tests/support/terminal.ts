/** Runs a command in a terminal of its own (bsdutils' script), as a person does. */

import { assert } from "@std/assert";

/** Whether there is a terminal to run commands in. */
export const hasTerminal = Deno.build.os === "linux" &&
  await Deno.stat("/usr/bin/script").then(() => true, () => false);

/** How long a command in a terminal may take before the test gives up on it, in milliseconds. */
const TERMINAL_TIMEOUT_MS = 60_000;

/** What a terminal makes of Ctrl-C: SIGINT for every process that it runs. */
export const CTRL_C = "\u0003";

/** How the terminal is. */
export interface TerminalOptions {
  /** Its columns; 80 where it does not tell, as without this. */
  readonly columns?: number;
  /** Its kind, as the variable TERM says. */
  readonly kind?: string;
}

/** A command in a terminal; dispose of it to end it. */
export class Terminal implements AsyncDisposable {
  /** What stands on the screen. */
  screen = "";
  readonly #child: Deno.ChildProcess;
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #timer: ReturnType<typeof setTimeout>;

  /** Runs Deno with these words, of which none needs a quote for the shell. */
  constructor(...given: readonly (TerminalOptions | string)[]) {
    const words = given.filter((word) => typeof word === "string");
    const { columns, kind = "xterm" } = given.find((option) => typeof option !== "string") ?? {};
    const size = columns === undefined ? "" : `stty cols ${columns} rows 40; `;
    this.#child = new Deno.Command("script", {
      // Without `exec` a shell that got the Ctrl-C too would end by it (dash, where SHELL is not set).
      args: ["-qec", `${size}${["exec", Deno.execPath(), ...words].join(" ")}`, "/dev/null"],
      cwd: new URL("../..", import.meta.url),
      env: { NO_COLOR: "1", TERM: kind },
      stdin: "piped",
      stdout: "piped",
    }).spawn();
    this.#reader = this.#child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    this.#writer = this.#child.stdin.getWriter();
    this.#timer = setTimeout(() => this.#child.kill("SIGKILL"), TERMINAL_TIMEOUT_MS);
  }

  /** Reads the screen until a text stands there. */
  async until(text: string): Promise<void> {
    while (!this.screen.includes(text)) {
      assert(await this.#read(), `The terminal ended before "${text}":\n${this.screen}`);
    }
  }

  /** Types keys. */
  async type(keys: string): Promise<void> {
    await this.#writer.write(new TextEncoder().encode(keys));
  }

  /** Waits for the end of the command, and gives its exit code. */
  async ended(): Promise<number> {
    while (await this.#read());
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended already.
    }
    await this.ended();
    clearTimeout(this.#timer);
    await this.#writer.close().catch(() => {});
  }

  async #read(): Promise<boolean> {
    const { done, value = "" } = await this.#reader.read();
    this.screen += value;
    return !done;
  }
}
