/**
 * A prompt at which lines are edited, with a history, and above which messages appear: `node:readline` in raw mode.
 *
 * @module
 */

import process from "node:process";
import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from "node:readline";
import { Readable } from "node:stream";
import { widthOf } from "../client/wrap.ts";

/** How many lines the history keeps: 1000. */
export const HISTORY_LINES = 1000;

const PROMPT = "> ";

/**
 * From this many characters at once on, text is pasted: 32. Key by key, `node:readline` measures the whole line for each of
 * them, which takes a minute for 8 KiB.
 */
export const PASTED_CHARS = 32;

/** The keys of the terminal as `node:readline` takes them. */
class Keys extends Readable {
  readonly isTTY = true;

  setRawMode(isRaw: boolean): this {
    Deno.stdin.setRaw(isRaw);
    return this;
  }

  override _read(): void {
    // The keys come on their own.
  }
}

/** Options of {@linkcode LineEditor}. */
export interface LineEditorOptions {
  /** The code that colours the prompt; none by default. */
  readonly color?: string;
  /** The words that the tab key completes at the beginning of a line. */
  readonly words?: readonly string[];
  /** Gives what stands above the prompt instead of a line that was entered. */
  readonly echo: (line: string) => string;
  /** Called for Ctrl-C, which is a character and no signal in raw mode. */
  readonly onInterrupt: () => void;
}

/**
 * Edits lines in the terminal of the standard input and output, which stays in raw mode until the editor is closed or the
 * process ends.
 */
export class LineEditor implements Disposable {
  /** The lines that were entered, until Ctrl-D; cancelled, the editor closes. */
  readonly lines: ReadableStream<string>;
  readonly #interface: Interface;
  readonly #keys = new Keys();
  readonly #reader: ReadableStreamDefaultReader<string>;
  readonly #ends = new AbortController();
  #isOpen = true;

  /**
   * Shows the prompt.
   *
   * @param options What stands for a line, and who is told of Ctrl-C.
   */
  constructor({ color, words = [], echo, onInterrupt }: LineEditorOptions) {
    const prompt = color === undefined ? PROMPT : `${color}${PROMPT}\x1b[0m`;
    const reader = createInterface({
      input: this.#keys,
      output: process.stdout,
      terminal: true,
      historySize: HISTORY_LINES,
      removeHistoryDuplicates: true,
      prompt,
      completer: (line: string) => [words.filter((word) => word.startsWith(line) && line !== ""), line],
    });
    this.#interface = reader;
    this.lines = new ReadableStream({
      start: (controller) => {
        reader.on("line", (line) => {
          this.#erase(line);
          process.stdout.write(`${echo(line)}\n`);
          controller.enqueue(line);
          if (this.#isOpen) reader.prompt();
        });
        reader.on("close", () => {
          this.#clear();
          this.#restore();
          // A cancelled stream is closed already.
          try {
            controller.close();
          } catch {
            // Nobody waits for another line.
          }
        });
      },
      cancel: () => this.close(),
    });
    reader.on("SIGINT", onInterrupt);
    // Without a listener Ctrl-Z would send a signal, for which there is no permission.
    reader.on("SIGTSTP", () => {});
    // Nothing else restores the terminal where the process ends at once or by an error that nobody catches.
    for (const type of ["unload", "error", "unhandledrejection"]) {
      globalThis.addEventListener(type, () => this.#restore(), { signal: this.#ends.signal });
    }
    this.#reader = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).getReader();
    this.#readKeys();
    reader.prompt();
  }

  /** Whether the prompt is there. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /**
   * Prints text above the prompt; what is typed at it stays, with the cursor where it is.
   *
   * @param text The text, without the last line end.
   */
  print(text: string): void {
    this.#clear();
    process.stdout.write(`${text}\n`);
    // The prompt is drawn anew where the cursor is, and not as many rows above it as it was.
    Reflect.set(this.#interface, "prevRows", 0);
    this.#interface.prompt(true);
  }

  /** Removes the prompt with what is typed at it, and restores the terminal. */
  close(): void {
    if (this.#isOpen) this.#interface.close();
  }

  /** The same as {@linkcode LineEditor.close}. */
  [Symbol.dispose](): void {
    this.close();
  }

  async #readKeys(): Promise<void> {
    try {
      for (let keys = await this.#reader.read(); !keys.done && this.#isOpen; keys = await this.#reader.read()) {
        for (const [text] of keys.value.matchAll(TEXT_OR_CONTROL)) {
          if (text.length >= PASTED_CHARS) this.#interface.write(text);
          else this.#keys.emit("data", text);
        }
      }
    } catch {
      // The terminal is gone, which ends the lines.
    }
    this.close();
  }

  /** Removes the prompt with what is typed at it. */
  #clear(): void {
    this.#clearUp(this.#interface.getCursorPos().rows);
  }

  /** Removes a line that was entered: the cursor stands below it. */
  #erase(line: string): void {
    const columns = process.stdout.columns || Infinity;
    this.#clearUp(1 + Math.floor((PROMPT.length + widthOf(line)) / columns));
  }

  #clearUp(rows: number): void {
    moveCursor(process.stdout, 0, -rows);
    cursorTo(process.stdout, 0);
    clearScreenDown(process.stdout);
  }

  #restore(): void {
    this.#isOpen = false;
    this.#ends.abort();
    this.#reader.cancel().catch(() => {});
    try {
      Deno.stdin.setRaw(false);
    } catch {
      // The terminal is gone.
    }
  }
}

/** Text in one piece, apart from the keys and codes that are none. */
// deno-lint-ignore no-control-regex -- they are what is looked for
const TEXT_OR_CONTROL = /[^\x00-\x1f\x7f]+|[\x00-\x1f\x7f]+/g;
