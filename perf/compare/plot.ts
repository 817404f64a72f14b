/** A plot of a comparison as SVG: a panel for each of a few numbers, a bar for each server; follows light and dark. */

import { medianOf, type Results } from "./results.ts";
import type { ServerName } from "./servers.ts";
import { serversOf, show, TITLES } from "./tables.ts";

interface Panel {
  readonly row: string;
  readonly number: string;
  readonly title: string;
  readonly unit: string;
  readonly better: "more" | "less";
}

const PANELS: readonly Panel[] = [
  { row: "connect", number: "perSecond", title: "New connections a second", unit: "", better: "more" },
  { row: "text-16k", number: "peakMebibytes", title: "Peak memory, 64 x 16 KiB", unit: "MiB", better: "less" },
  { row: "text-20", number: "cpuMicros", title: "CPU a message, 20 B text", unit: "µs", better: "less" },
  { row: "text-1k", number: "cpuMicros", title: "CPU a message, 1 KiB text", unit: "µs", better: "less" },
  { row: "text-16k", number: "cpuMicros", title: "CPU a message, 16 KiB text", unit: "µs", better: "less" },
  { row: "text-1m", number: "cpuMicros", title: "CPU a message, 1 MiB text", unit: "µs", better: "less" },
  { row: "fair-20", number: "spread", title: "500 connections: most / least served", unit: "", better: "less" },
  { row: "fair-20", number: "p99Ms", title: "500 connections: p99 of a round trip", unit: "ms", better: "less" },
];

const COLUMNS = 2;
const PANEL_WIDTH = 420;
const NAME_WIDTH = 64;
const NUMBER_WIDTH = 120;
const BAR_HEIGHT = 14;
const BAR_STEP = 20;
const TITLE_HEIGHT = 30;
const GAP = 22;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-weight: 600; font-size: 13px; }
  .hint, .name { fill: #59636e; }
  .own { font-weight: 600; fill: #1f2328; }
  rect { fill: #afb8c1; }
  rect.own { fill: #0969da; }
  line { stroke: #59636e; stroke-dasharray: 2 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .hint, .name { fill: #9198a1; }
    .own { fill: #f0f6fc; }
    rect { fill: #4d5661; }
    rect.own { fill: #4493f8; }
    line { stroke: #9198a1; }
  }
`;

function panelOf(results: Results, panel: Panel, left: number, top: number): string {
  const bars = serversOf(results).flatMap((server): [ServerName, number][] => {
    const value = medianOf(results, panel.row, server, panel.number);
    return value === undefined ? [] : [[server, value]];
  });
  const room = PANEL_WIDTH - NAME_WIDTH - NUMBER_WIDTH;
  const scale = room / Math.max(...bars.map(([, value]) => value));
  const bare = bars.find(([server]) => server === "bare")?.[1];
  const lines = bars.map(([server, value], index) => {
    const y = TITLE_HEIGHT + index * BAR_STEP;
    const own = server === "wire" ? " own" : "";
    const ratio = bare === undefined || server === "bare" ? "" : ` (${(value / bare).toFixed(2)})`;
    const text = `${show(value)}${panel.unit === "" ? "" : ` ${panel.unit}`}${ratio}`;
    const width = Math.max(1, value * scale);
    return [
      `<text class="name${own}" x="${NAME_WIDTH - 8}" y="${y + 11}" text-anchor="end">${TITLES[server]}</text>`,
      `<rect class="${own.trim()}" x="${NAME_WIDTH}" y="${y}" width="${
        width.toFixed(1)
      }" height="${BAR_HEIGHT}" rx="2"/>`,
      `<text class="${own.trim()}" x="${NAME_WIDTH + room + 10}" y="${y + 11}">${text}</text>`,
    ].join("\n");
  });
  const x = (NAME_WIDTH + (bare ?? 0) * scale).toFixed(1);
  const bottom = TITLE_HEIGHT + bars.length * BAR_STEP - (BAR_STEP - BAR_HEIGHT);
  return [
    `<g transform="translate(${left} ${top})">`,
    `<text class="title" x="0" y="16">${panel.title}<tspan class="hint" font-weight="400" dx="6">${panel.better} is better</tspan></text>`,
    ...lines,
    ...(bare === undefined ? [] : [`<line x1="${x}" x2="${x}" y1="${TITLE_HEIGHT - 4}" y2="${bottom + 4}"/>`]),
    `</g>`,
  ].join("\n");
}

/** The plot; the dashed line is the bare server. */
export function plotOf(results: Results): string {
  const panels = PANELS.filter(({ row }) => row in results.rows);
  const height = TITLE_HEIGHT + serversOf(results).length * BAR_STEP + GAP;
  const drawn = panels.map((panel, index) =>
    panelOf(results, panel, GAP + (index % COLUMNS) * (PANEL_WIDTH + GAP), GAP + Math.floor(index / COLUMNS) * height)
  );
  const size = [GAP + COLUMNS * (PANEL_WIDTH + GAP), GAP + Math.ceil(panels.length / COLUMNS) * height];
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 ${size[0]} ${size[1]}" width="${
      size[0]
    }" height="${size[1]}">`,
    `<title>Echo servers beside each other, ${results.environment.date}</title>`,
    `<style>${STYLE}</style>`,
    ...drawn,
    `</svg>`,
    "",
  ].join("\n");
}
