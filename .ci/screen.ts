/** Runs a command in its own terminal; returns the final screen. */

import headless, { type Terminal } from "npm:@xterm/headless@6.0.0";

/** Deadline for a command, in milliseconds: two minutes, as the first one may fetch packages. */
const COMMAND_TIMEOUT_MS = 120_000;

/** The most lines that the terminal keeps. */
const MAX_LINES = 2000;

/** A part of a line in one style. */
export interface Stretch {
  readonly text: string;
  /** A colour of the palette of 16, unless the terminal's own. */
  readonly color: number | undefined;
  readonly isBold: boolean;
  readonly isDim: boolean;
}

/** The screen after the end of the command. */
export interface Screen {
  readonly code: number;
  /** The lines, in styled parts; wrapped lines are joined. */
  readonly lines: readonly (readonly Stretch[])[];
}

/** Options of a run. */
export interface RunOptions {
  /** The width of the terminal, in characters; 80 by default. */
  readonly columns?: number;
  /** Environment variables beyond those of this process. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs words for `sh` in a terminal (bsdutils' script). */
export async function run(command: string, { columns = 80, env = {} }: RunOptions = {}): Promise<Screen> {
  const child = new Deno.Command("script", {
    args: ["-qec", `stty cols ${columns} rows 40; ${command}`, "/dev/null"],
    env: { ...env, SHELL: "/bin/sh", TERM: "xterm-256color" },
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), COMMAND_TIMEOUT_MS);
  const terminal = new headless.Terminal({ cols: columns, rows: 40, scrollback: MAX_LINES, allowProposedApi: true });
  for await (const bytes of child.stdout) await new Promise<void>((written) => terminal.write(bytes, written));
  const { code } = await child.status;
  clearTimeout(timer);
  await child.stdin.close().catch(() => {});
  return { code, lines: linesOf(terminal) };
}

function linesOf({ buffer, cols }: Terminal): Stretch[][] {
  const lines: Stretch[][] = [];
  for (let row = 0; row < buffer.active.length; row++) {
    const line = buffer.active.getLine(row);
    if (line === undefined) continue;
    const stretches = line.isWrapped ? lines.at(-1) ?? [] : [];
    if (!line.isWrapped) lines.push(stretches);
    const length = line.translateToString(true).length;
    for (let at = 0; at < Math.min(cols, length); at++) {
      const cell = line.getCell(at);
      if (cell === undefined) continue;
      const style = {
        color: cell.isFgPalette() ? cell.getFgColor() : undefined,
        isBold: cell.isBold() !== 0,
        isDim: cell.isDim() !== 0,
      };
      const last = stretches.at(-1);
      const text = cell.getChars() || (cell.getWidth() === 0 ? "" : " ");
      if (last && last.color === style.color && last.isBold === style.isBold && last.isDim === style.isDim) {
        stretches[stretches.length - 1] = { ...last, text: last.text + text };
      } else {
        stretches.push({ text, ...style });
      }
    }
  }
  while (lines.at(-1)?.length === 0) lines.pop();
  return lines;
}

/** The lines without their style. */
export function textOf({ lines }: Screen): string {
  return lines.map((line) => `${line.map(({ text }) => text).join("").trimEnd()}\n`).join("");
}
