/** The tables of a comparison in Markdown, in the form of `deno fmt`; all content comes from the results. */

import { medianOf, type Results } from "./results.ts";
import { isServerName, SERVER_NAMES, type ServerName } from "./servers.ts";
import { workersOf } from "./workers.ts";

/** A line of a table: one number of one row. */
export interface Line {
  readonly row: string;
  readonly number: string;
  readonly title: string;
  /** The unit of the absolute number. */
  readonly unit: string;
  /** The good direction. */
  readonly better: "more" | "less";
}

/** Lines under one heading. */
export interface Table {
  readonly title: string;
  readonly lines: readonly Line[];
}

const more = (row: string, number: string, title: string, unit = ""): Line => ({
  row,
  number,
  title,
  unit,
  better: "more",
});
const less = (row: string, number: string, title: string, unit = ""): Line => ({
  row,
  number,
  title,
  unit,
  better: "less",
});

/** The display names of servers. */
export const TITLES: Readonly<Record<ServerName, string>> = {
  bare: "bare",
  builtin: "built-in",
  wire: "wire",
  ws: "ws",
  bun: "Bun",
};

/** All tables. */
export const TABLES: readonly Table[] = [
  {
    title: "New connections",
    lines: [
      more("connect", "perSecond", "connections/s, 32 at once"),
      less("connect", "cpuMicros", "CPU a connection", "µs"),
      less("connect", "p99Ms", "p99 of a whole connection", "ms"),
      less("storm", "lost", "storm of 10,000, twice: not let in"),
      less("storm", "seconds", "storm of 10,000: the last is through after", "s"),
    ],
  },
  {
    title: "CPU a message, 64 connections",
    lines: [
      less("text-20", "cpuMicros", "20 B text", "µs"),
      less("binary-20", "cpuMicros", "20 B binary", "µs"),
      less("text-1k", "cpuMicros", "1 KiB text", "µs"),
      less("binary-1k", "cpuMicros", "1 KiB binary", "µs"),
      less("text-16k", "cpuMicros", "16 KiB text", "µs"),
      less("binary-16k", "cpuMicros", "16 KiB binary", "µs"),
      less("text-1m", "cpuMicros", "1 MiB text", "µs"),
      less("binary-1m", "cpuMicros", "1 MiB binary", "µs"),
    ],
  },
  {
    title: "Fairness, 500 connections",
    lines: [
      less("fair-20", "spread", "20 B: most served / least served"),
      less("fair-20", "p50Ms", "20 B: p50", "ms"),
      less("fair-20", "p99Ms", "20 B: p99", "ms"),
      less("fair-20", "worstMs", "20 B: worst", "ms"),
      less("fair-1k", "spread", "1 KiB: most / least"),
      less("fair-1k", "p50Ms", "1 KiB: p50", "ms"),
      less("fair-1k", "p99Ms", "1 KiB: p99", "ms"),
      less("fair-flood", "spread", "one floods: most / least of the others"),
      less("fair-flood", "p99Ms", "one floods: p99 of the others", "ms"),
      less("fair-mixed", "spread", "half 20 B, half 16 KiB: most / least of a half"),
      less("fair-mixed", "p99Ms", "half 20 B, half 16 KiB: p99 of 20 B", "ms"),
    ],
  },
  {
    title: "Peak memory",
    lines: [
      less("text-16k", "peakMebibytes", "64 connections, 16 KiB text", "MiB"),
      less("text-1m", "peakMebibytes", "64 connections, 1 MiB text", "MiB"),
      less("fair-20", "peakMebibytes", "500 connections, 20 B text", "MiB"),
      less("storm", "peakMebibytes", "storm of 10,000", "MiB"),
    ],
  },
];

/** From this share on, the load is the limit. */
const LOAD_IS_THE_LIMIT = 0.95;
/** A smaller ratio is no difference. */
const NO_DIFFERENCE = 1.05;

/** Three significant digits, with separators; a count as it is. */
export function show(value: number): string {
  const decimals = Number.isInteger(value) ? 0 : value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** The servers in the results, in order. */
export function serversOf(results: Results): ServerName[] {
  const measured = new Set(Object.values(results.rows).flatMap((row) => Object.keys(row)).filter(isServerName));
  return SERVER_NAMES.filter((name) => measured.has(name));
}

/** The measured lines of a table. */
function linesOf(results: Results, { lines }: Table): readonly Line[] {
  return lines.filter(({ row }) => row in results.rows);
}

/** Whether no other server is better by a real difference. */
function isBest(results: Results, { row, number, better }: Line, server: ServerName): boolean {
  const value = medianOf(results, row, server, number);
  if (value === undefined) return false;
  const values = SERVER_NAMES.map((name) => medianOf(results, row, name, number)).filter((other) =>
    other !== undefined
  );
  return better === "more"
    ? value * NO_DIFFERENCE >= Math.max(...values)
    : value <= Math.min(...values) * NO_DIFFERENCE;
}

function cellOf(results: Results, line: Line, server: ServerName): string {
  const { row, number, unit } = line;
  const value = medianOf(results, row, server, number);
  if (value === undefined) return "-";
  const isLimited = number === "perSecond" && (medianOf(results, row, server, "loadShare") ?? 0) > LOAD_IS_THE_LIMIT;
  const absolute = `${isLimited ? "≥ " : ""}${show(value)}${unit === "" ? "" : ` ${unit}`}`;
  const bare = medianOf(results, row, "bare", number);
  const cell = server === "bare" || !bare ? absolute : `${(value / bare).toFixed(2)} (${absolute})`;
  return isBest(results, line, server) ? `**${cell}**` : cell;
}

/** The widths of the columns match `deno fmt`. */
function formatTable(rows: readonly (readonly string[])[]): string {
  const [head = []] = rows;
  const widths = head.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]) =>
    `| ${
      row.map((cell, column) => column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))
        .join(" | ")
    } |`;
  const rule = widths.map((width, column) => column === 0 ? `:${"-".repeat(width - 1)}` : `${"-".repeat(width - 1)}:`);
  return [line(head), `| ${rule.join(" | ")} |`, ...rows.slice(1).map(line)].join("\n");
}

/** One table: a line for each number, a column for each server. */
export function tableOf(results: Results, table: Table): string {
  const servers = serversOf(results);
  const rows = linesOf(results, table).map((line) => [
    line.title,
    ...servers.map((server) => cellOf(results, line, server)),
    line.better,
  ]);
  if (rows.length === 0) return "";
  return formatTable([[table.title, ...servers.map((server) => TITLES[server]), "better"], ...rows]);
}

/** The number of lines that each server wins. */
function bestOf(results: Results): string {
  const lines = TABLES.flatMap((table) => linesOf(results, table));
  const counts = serversOf(results).map((server) =>
    `${TITLES[server]} ${lines.filter((line) => isBest(results, line, server)).length}`
  );
  return `${counts.join(", ")}, of ${lines.length}`;
}

/** Losses in storms, and failures among short connections. */
function lossesOf(results: Results): string {
  const losses = serversOf(results).map((server) => {
    const worst = (row: string, number: string) =>
      Math.max(0, ...(results.rows[row]?.[server] ?? []).map((numbers) => numbers[number] ?? 0));
    return `${TITLES[server]} ${worst("storm", "lost") + worst("connect", "failures")}`;
  });
  return losses.join(", ");
}

/** The text between the markers of `perf/README.md`. */
export function reportOf(results: Results): string {
  const { date, machine, versions, commit, seconds, rounds } = results.environment;
  const names = Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", ");
  const parts = [
    `${date}, commit ${commit}. ${machine}. Versions: ${names}. Medians of ${rounds} rounds of ${seconds} s.`,
    `Best, or less than 5 % from it (bold below): ${bestOf(results)} lines.`,
    ...TABLES.map((table) => tableOf(results, table)).filter((table) => table !== ""),
    `Connections that were lost or failed, in the worst round: ${lossesOf(results)}.`,
    ...[workersOf(results)].filter((sentence) => sentence !== ""),
  ];
  return parts.join("\n\n");
}
