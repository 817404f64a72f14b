/**
 * A prompt for editing lines, with a history; messages appear above the prompt. `node:readline` does the work, in raw
 * mode.
 *
 * @module
 */

import process from "node:process";
import { clearScreenDown, createInterface, cursorTo, type Interface, moveCursor } from "node:readline";
import { Readable } from "node:stream";
import { widthOf } from "../client/wrap.ts";

/** Lines in the history: 1000. */
export const HISTORY_LINES = 1000;

const PROMPT = "> ";

/**
 * Text counts as pasted from this many characters at once on: 32. `node:readline` measures the whole line at each key:
 * a paste of 8 KiB took a minute key by key.
 */
export const PASTED_CHARS = 32;

/** The terminal's keys for `node:readline`. */
class Keys extends Readable {
  readonly isTTY = true;

  setRawMode(isRaw: boolean): this {
    Deno.stdin.setRaw(isRaw);
    return this;
  }

  override _read(): void {
    // LineEditor emits the keys.
  }
}

/** Options of {@linkcode LineEditor}. */
export interface LineEditorOptions {
  /** The code that colours the prompt; none by default. */
  readonly color?: string;
  /** The words that Tab completes at the beginning of a line. */
  readonly words?: readonly string[];
  /** Makes the text that replaces an entered line, above the prompt. */
  readonly echo: (line: string) => string;
  /** Called for Ctrl-C, which is a character and no signal in raw mode. */
  readonly onInterrupt: () => void;
}

/**
 * Edits lines in the terminal. The terminal stays in raw mode until the editor closes; at the end of a process the
 * runtime restores the terminal too, unless a signal without a listener ends the process.
 */
export class LineEditor {
  /** The entered lines, until Ctrl-D. A cancel closes the editor. */
  readonly lines: ReadableStream<string>;
  readonly #interface: Interface;
  readonly #keys = new Keys();
  readonly #reader: ReadableStreamDefaultReader<string>;
  #isOpen = true;

  /**
   * Shows the prompt.
   *
   * @param options The look of the prompt and of entered lines, and the listener for Ctrl-C.
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
          this.#isOpen = false;
          this.#reader.cancel().catch(() => {});
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
    // Without a listener, Ctrl-Z makes node:readline send a signal, which needs a permission.
    reader.on("SIGTSTP", () => {});
    this.#reader = Deno.stdin.readable.pipeThrough(new TextDecoderStream()).getReader();
    this.#readKeys();
    reader.prompt();
  }

  /** Whether the prompt is there. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /**
   * Prints text above the prompt. The half-typed line and its cursor stay.
   *
   * @param text The text, without the last line end.
   */
  print(text: string): void {
    this.#clear();
    process.stdout.write(`${text}\n`);
    // Draw the prompt at the cursor: readline would otherwise go up as many rows as the old prompt took.
    Reflect.set(this.#interface, "prevRows", 0);
    this.#interface.prompt(true);
  }

  /** Removes the prompt with the half-typed line, and restores the terminal. */
  close(): void {
    if (this.#isOpen) this.#interface.close();
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

  /** Removes the prompt with the half-typed line. */
  #clear(): void {
    this.#clearUp(this.#interface.getCursorPos().rows);
  }

  /** Removes an entered line; the cursor stands below that line. */
  #erase(line: string): void {
    const columns = process.stdout.columns || Infinity;
    this.#clearUp(1 + Math.floor((PROMPT.length + widthOf(line)) / columns));
  }

  #clearUp(rows: number): void {
    moveCursor(process.stdout, 0, -rows);
    cursorTo(process.stdout, 0);
    clearScreenDown(process.stdout);
  }
}

/** Runs of text, and runs of keys and control codes. */
// deno-lint-ignore no-control-regex -- they are what is looked for
const TEXT_OR_CONTROL = /[^\x00-\x1f\x7f]+|[\x00-\x1f\x7f]+/g;
