/** The tables and the plot of perf/ match the results beside them; nothing is measured here. */

import { assert, assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { plotOf } from "../../perf/compare/plot.ts";
import { medianOf, merge, type Results, textOf } from "../../perf/compare/results.ts";
import { ROWS } from "../../perf/compare/rows.ts";
import { reportOf, show, tableOf, TABLES } from "../../perf/compare/tables.ts";
import { workersOf } from "../../perf/compare/workers.ts";
import { read } from "../support/documents.ts";

const kept: Results = JSON.parse(await read("perf/results.json"));

const environment = {
  date: "2026-01-31",
  machine: "A machine",
  versions: { deno: "1.2.3" },
  commit: "abcdef0",
  seconds: 2,
  rounds: 3,
};

/** Results with one number of one row, with its rounds for each server. */
function resultsWith(row: string, number: string, rounds: Record<string, number[]>, loadShare = 0.5): Results {
  const servers = Object.entries(rounds).map(([server, values]) =>
    [server, values.map((value) => ({ [number]: value, loadShare }))] as const
  );
  return { environment, rows: { [row]: Object.fromEntries(servers) } };
}

Deno.test("perf/README.md holds the tables of perf/results.json", async () => {
  const [, rest = ""] = (await read("perf/README.md")).split("<!-- deno-fmt-ignore-start -->\n");
  assertEquals(rest.split("<!-- deno-fmt-ignore-end -->\n")[0], `\n${reportOf(kept)}\n\n`);
});

Deno.test("perf/results.svg is the plot of perf/results.json", async () => {
  assertEquals(await read("perf/results.svg"), plotOf(kept));
});

Deno.test("perf/results.json has every row, of every server in every round", () => {
  for (const { id } of ROWS) {
    assertEquals(Object.keys(kept.rows[id] ?? {}), ["bare", "builtin", "wire", "ws", "bun"], id);
    for (const rounds of Object.values(kept.rows[id] ?? {})) assertEquals(rounds?.length, kept.environment.rounds, id);
  }
});

Deno.test("the tables show numbers that the rows have", () => {
  for (const { row, number, title } of TABLES.flatMap(({ lines }) => lines)) {
    assert(medianOf(kept, row, "bare", number) !== undefined, `${row} ${number}: ${title}`);
  }
});

Deno.test("medianOf() returns the middle value, and nothing without a measurement", () => {
  const results = resultsWith("connect", "perSecond", { wire: [30, 10, 20] });
  assertEquals(medianOf(results, "connect", "wire", "perSecond"), 20);
  assertEquals(medianOf(results, "connect", "wire", "cpuMicros"), undefined);
  assertEquals(medianOf(results, "connect", "bun", "perSecond"), undefined);
  assertEquals(medianOf(results, "storm", "wire", "perSecond"), undefined);
  const holes = { environment, rows: { storm: { wire: [{ seconds: 1 }, {}, { seconds: 3 }] } } };
  assertEquals(medianOf(holes, "storm", "wire", "seconds"), undefined);
});

Deno.test("merge() prefers new rows to old ones, and refuses rows of another machine, version or commit", () => {
  const old = { ...resultsWith("connect", "perSecond", { wire: [1] }) };
  const more = {
    ...resultsWith("storm", "seconds", { wire: [2] }),
    environment: { ...environment, date: "2026-02-01" },
  };
  const merged = merge(old, more);
  assertEquals(Object.keys(merged.rows), ["connect", "storm"]);
  assertEquals(merged.environment.date, "2026-02-01");
  const again = merge(merged, resultsWith("connect", "perSecond", { wire: [3] }));
  assertEquals(medianOf(again, "connect", "wire", "perSecond"), 3);
  for (const other of [{ machine: "B" }, { versions: { deno: "1.2.4" } }, { commit: "0" }, { seconds: 1 }]) {
    const strange = { ...more, environment: { ...environment, ...other } };
    assertThrows(() => merge(old, strange), Error, "measure all rows with --write");
  }
});

Deno.test("textOf() keeps four digits of each number, one measurement per line, as in perf/results.json", async () => {
  const text = textOf(resultsWith("connect", "perSecond", { bare: [12_345.678, 1], wire: [0.123456] }));
  assertStringIncludes(text, '      {"perSecond":12350,"loadShare":0.5},\n      {"perSecond":1,"loadShare":0.5}\n');
  assertEquals(JSON.parse(text).rows.connect.wire, [{ perSecond: 0.1235, loadShare: 0.5 }]);
  assertEquals(textOf(kept), await read("perf/results.json"));
});

Deno.test("show() returns three significant digits with separators, and counts unchanged", () => {
  assertEquals([0, 7, 9.99, 1000].map(show), ["0", "7", "9.99", "1,000"]);
  assertEquals([0.123, 1.234, 12.34, 123.4, 12_345.6].map(show), ["0.12", "1.23", "12.3", "123", "12,346"]);
});

Deno.test("tableOf() shows ratios to the bare server, the best one bold, and marks rows that the load limits", () => {
  const table = { title: "T", lines: TABLES.flatMap(({ lines }) => lines).filter(({ row }) => row === "connect") };
  const lines = table.lines.filter(({ number }) => number === "perSecond");
  const rates = { bare: [1000, 1000, 4000], wire: [2500, 2500, 100] };
  assertEquals(tableOf(resultsWith("connect", "perSecond", rates), { ...table, lines }).split("\n"), [
    "| T                         |  bare |             wire | better |",
    "| :------------------------ | ----: | ---------------: | -----: |",
    "| connections/s, 32 at once | 1,000 | **2.50 (2,500)** |   more |",
  ]);
  assertStringIncludes(
    tableOf(resultsWith("connect", "perSecond", rates, 0.96), { ...table, lines }),
    "2.50 (≥ 2,500)",
  );
  assertEquals(tableOf(resultsWith("storm", "seconds", rates), { ...table, lines }), "");
});

Deno.test("reportOf() counts who is best, and what was lost in the worst round", () => {
  const { rows } = resultsWith("connect", "perSecond", { bare: [104], wire: [100], bun: [110] });
  const storm = { wire: [{ lost: 0 }, { lost: 3 }], bun: [{ lost: 0 }] };
  const report = reportOf({ environment, rows: { ...rows, storm } });
  assertStringIncludes(report, "(bold below): bare 0, wire 0, Bun 2, of 6 lines.");
  assertStringIncludes(report, "lost or failed, in the worst round: bare 0, wire 3, Bun 0.");
  assertStringIncludes(report, "2026-01-31, commit abcdef0. A machine. Versions: deno 1.2.3.");
});

Deno.test("workersOf() says how much faster two workers are, if measured", () => {
  const results = resultsWith("workers", "perCoreSecond", { 1: [100, 110, 90], 2: [80, 90, 95] });
  assertStringIncludes(workersOf(results), "echo **1.80** times as many");
  assertEquals(workersOf({ environment, rows: {} }), "");
});

Deno.test("plotOf() draws a bar for each server, in proportion, and knows dark pages", () => {
  const svg = plotOf(resultsWith("connect", "perSecond", { bare: [100], wire: [200], bun: [50] }));
  const widths = [...svg.matchAll(/<rect [^>]*width="([\d.]+)"/g)].map(([, width]) => Number(width));
  assertEquals(widths, [118, 236, 59]);
  assertStringIncludes(svg, ">200 (2.00)</text>");
  assertMatch(svg, /@media \(prefers-color-scheme: dark\)/);
});
