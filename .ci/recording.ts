/** Draws runs of commands as an SVG that types and prints, in light and dark colours. */

import type { Screen, Stretch } from "./screen.ts";

/** A command, and its printed lines. */
export interface RecordedRun {
  readonly command: string;
  readonly lines: Screen["lines"];
}

/** The size of a character and of the margin, in pixels. */
const CHAR = { width: 8.4, height: 20, margin: 16 };

/** The time of a line, and the pause before a command, in seconds. Real runs take milliseconds. */
const PACE = { line: 0.35, pause: 1.2 };

/** The command line's colours in the palette: red, green, yellow, cyan and grey. */
const COLORS: Record<number, readonly [light: string, dark: string]> = {
  1: ["#b3261e", "#ff9c94"],
  2: ["#18703c", "#6fcf97"],
  3: ["#7a5200", "#e8c268"],
  6: ["#0b5cad", "#7cb8f2"],
  8: ["#526070", "#a3b0be"],
};

/**
 * Draws runs, one below the other; breaks lines beyond the widest command line of 80 characters.
 *
 * @param runs The runs, in order.
 * @returns The SVG.
 */
export function record(runs: readonly RecordedRun[]): string {
  const rows: { at: number; stretches: readonly Stretch[] }[] = [];
  let at = 0;
  for (const { command, lines } of runs) {
    if (rows.length > 0) rows.push({ at, stretches: [] });
    at += PACE.pause;
    rows.push({ at, stretches: [plain("$ "), { ...plain(command), isBold: true }] });
    at += PACE.pause;
    for (const line of lines.flatMap((stretches) => broken(stretches, 80))) {
      rows.push({ at, stretches: line });
      at += PACE.line;
    }
  }
  const [width, height] = [80 * CHAR.width + 2 * CHAR.margin, rows.length * CHAR.height + 2 * CHAR.margin];
  const texts = rows.map(({ at, stretches }, index) =>
    `<text class="row" style="animation-delay:${at.toFixed(2)}s" x="${CHAR.margin}" y="${
      CHAR.margin + index * CHAR.height + 14
    }">${stretches.map(drawn).join("")}</text>`
  );
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">
<title>A run that is proven, and one that is not</title>
<style>
rect{fill:#fff;stroke:#d8dee5}text{fill:#1b2430;font:14px ui-monospace,"SF Mono",Menlo,Consolas,"DejaVu Sans Mono",monospace;white-space:pre}
.bold{font-weight:700}.dim{opacity:.75}
${Object.entries(COLORS).map(([index, [light]]) => `.c${index}{fill:${light}}`).join("")}
@media (prefers-color-scheme:dark){rect{fill:#14181d;stroke:#323c47}text{fill:#e4e9ef}
${Object.entries(COLORS).map(([index, [, dark]]) => `.c${index}{fill:${dark}}`).join("")}}
@media (prefers-reduced-motion:no-preference){.row{animation:appear .1s both}}
@keyframes appear{from{opacity:0}to{opacity:1}}
</style>
<rect x=".5" y=".5" width="${width - 1}" height="${height - 1}" rx="8"/>
${texts.join("\n")}
</svg>
`;
}

function plain(text: string): Stretch {
  return { text, color: undefined, isBold: false, isDim: false };
}

/** Breaks a line at a width. */
function broken(stretches: readonly Stretch[], columns: number): Stretch[][] {
  const lines: Stretch[][] = [[]];
  let used = 0;
  for (const stretch of stretches) {
    for (const char of stretch.text) {
      if (used++ === columns) {
        lines.push([]);
        used = 1;
      }
      const line = lines.at(-1) ?? [];
      const last = line.at(-1);
      if (last && last.color === stretch.color && last.isBold === stretch.isBold && last.isDim === stretch.isDim) {
        line[line.length - 1] = { ...last, text: last.text + char };
      } else line.push({ ...stretch, text: char });
    }
  }
  return lines;
}

function drawn({ text, color, isBold, isDim }: Stretch): string {
  const classes = [
    ...color === undefined ? [] : [`c${color}`],
    ...isBold ? ["bold"] : [],
    ...isDim ? ["dim"] : [],
  ];
  const escaped = text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  return classes.length === 0 ? escaped : `<tspan class="${classes.join(" ")}">${escaped}</tspan>`;
}
