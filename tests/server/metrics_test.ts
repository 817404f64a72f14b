/** The metrics: the text for Prometheus in this process, and the instruments of OpenTelemetry in an exporting one. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import process from "node:process";
import parsePrometheus from "npm:parse-prometheus-text-format@1.1.1";
import { register, validateMetricName } from "npm:prom-client@15.1.3";
import type { CloseCount, EchoStats } from "../../lib/server/policy.ts";
import { createMetrics, type Metrics } from "../../lib/server/metrics.ts";
import { type Outcome, outcomeOf, standIns } from "../support/command.ts";
import { type Collected, type Collector, SNAPSHOT, startCollector } from "../support/otlp.ts";

const NOTHING: EchoStats = {
  connections: 0,
  accepted: 0,
  messages: 0,
  bytes: 0,
  closes: [],
  refusals: [],
  troubles: [],
};
const TEXT_TYPE = "text/plain; version=0.0.4; charset=utf-8";
const OPENMETRICS_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/** The Accept field of Prometheus 3. */
const PROMETHEUS_ACCEPTS = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6," +
  "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4," +
  "text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

function ask(metrics: Metrics, accept?: string): Promise<Response> {
  return metrics.respond(new Request("http://127.0.0.1/metrics", accept === undefined ? {} : { headers: { accept } }));
}

async function read(stats: EchoStats, accept?: string): Promise<string> {
  using metrics = createMetrics(() => stats, "1.2.3");
  return await (await ask(metrics, accept)).text();
}

/** The lines of our own metrics, without those of the process. */
function ours(text: string): string {
  return text.split("\n").filter((line) => /^(# (HELP|TYPE) )?wsproof_(?!build)/.test(line)).join("\n");
}

/** Every name, label and value, as read by another parser. */
function samplesOf(text: string): Map<string, number> {
  const samples = new Map<string, number>();
  for (const { name, metrics } of parsePrometheus(text)) {
    for (const { labels = {}, value } of metrics) {
      samples.set([name, ...Object.values(labels)].join(" "), Number(value));
    }
  }
  return samples;
}

function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000_000;
}

const TEXT = `# HELP wsproof_connections Open connections.
# TYPE wsproof_connections gauge
wsproof_connections 2
# HELP wsproof_connections_accepted_total Accepted connections.
# TYPE wsproof_connections_accepted_total counter
wsproof_connections_accepted_total 12
# HELP wsproof_messages_total Echoed messages.
# TYPE wsproof_messages_total counter
wsproof_messages_total 345
# HELP wsproof_message_bytes_total Payload bytes of echoed messages.
# TYPE wsproof_message_bytes_total counter
wsproof_message_bytes_total 6789
# HELP wsproof_wire_bytes_total Bytes of all frames on the wire (wire transport only).
# TYPE wsproof_wire_bytes_total counter
wsproof_wire_bytes_total{direction="receive"} 4321
wsproof_wire_bytes_total{direction="transmit"} 1234
# HELP wsproof_deflate_connections_total Connections that negotiated permessage-deflate.
# TYPE wsproof_deflate_connections_total counter
wsproof_deflate_connections_total 3
# HELP wsproof_closes_total Ended connections, by the close code of the side that began.
# TYPE wsproof_closes_total counter
wsproof_closes_total{code="1000",initiator="peer"} 5
wsproof_closes_total{code="1001",initiator="peer"} 0
wsproof_closes_total{code="1005",initiator="peer"} 0
wsproof_closes_total{code="1001",initiator="server"} 0
wsproof_closes_total{code="1002",initiator="server"} 0
wsproof_closes_total{code="1007",initiator="server"} 0
wsproof_closes_total{code="1008",initiator="server"} 0
wsproof_closes_total{code="1009",initiator="server"} 1
wsproof_closes_total{code="1011",initiator="server"} 0
wsproof_closes_total{code="1013",initiator="server"} 0
wsproof_closes_total{code="1006",initiator="none"} 1
wsproof_closes_total{code="4xxx",initiator="peer"} 3
# HELP wsproof_refusals_total Requests that were not upgraded, by cause.
# TYPE wsproof_refusals_total counter
wsproof_refusals_total{cause="plain-http"} 0
wsproof_refusals_total{cause="method"} 0
wsproof_refusals_total{cause="bad-handshake"} 0
wsproof_refusals_total{cause="version"} 0
wsproof_refusals_total{cause="host"} 0
wsproof_refusals_total{cause="origin"} 3
wsproof_refusals_total{cause="token"} 0
wsproof_refusals_total{cause="connections"} 0
wsproof_refusals_total{cause="draining"} 0
wsproof_refusals_total{cause="gone"} 0
wsproof_refusals_total{cause="head-too-long"} 0
wsproof_refusals_total{cause="head-timeout"} 0
wsproof_refusals_total{cause="head-limit"} 1
# HELP wsproof_troubles_total Troubles that no connection caused, by kind.
# TYPE wsproof_troubles_total counter
wsproof_troubles_total{kind="accept"} 4
wsproof_troubles_total{kind="runtime"} 0
wsproof_troubles_total{kind="worker"} 0
# HELP wsproof_log_dropped_lines_total Dropped lines of the log.
# TYPE wsproof_log_dropped_lines_total counter
wsproof_log_dropped_lines_total 6`;

Deno.test("respond() has the documented series of refusals and troubles", async () => {
  const series = [...samplesOf(await read(NOTHING)).keys()];
  const [refusals, troubles] = ["wsproof_refusals", "wsproof_troubles"].map((name) =>
    series.filter((key) => key.startsWith(name)).length
  );
  assertEquals([refusals, troubles], [13, 3]);
});

Deno.test("respond() writes a snapshot in the text format of Prometheus", async () => {
  assertEquals(ours(await read(SNAPSHOT)), TEXT);
});

Deno.test("respond() writes a snapshot as OpenMetrics, when it is preferred", async () => {
  const text = await read(SNAPSHOT, PROMETHEUS_ACCEPTS);
  // A counter's family has no suffix there, its samples have.
  assertEquals(ours(text), TEXT.replaceAll(/^(# (?:HELP|TYPE) \w+?)_total /gm, "$1 "));
  assert(text.endsWith("\n# EOF\n"));
});

Deno.test("respond() reports the process and the version", async () => {
  const before = cpuSeconds();
  const text = await read(NOTHING);
  const after = cpuSeconds();
  assertStringIncludes(text, `\nwsproof_build_info{version="1.2.3",deno_version="${Deno.version.deno}"} 1\n`);
  const samples = samplesOf(text);
  const cpu = samples.get("process_cpu_seconds_total") ?? 0;
  assert(before <= cpu && cpu <= after, `${before} <= ${cpu} <= ${after}`);
  // More than a megabyte: the unit is bytes.
  assert((samples.get("process_resident_memory_bytes") ?? 0) > 1e6);
  assertEquals(samples.get("process_start_time_seconds"), performance.timeOrigin / 1000);
});

Deno.test("respond() writes what another parser reads", async () => {
  const samples = samplesOf(await read(SNAPSHOT));
  assertEquals(samples.get("wsproof_message_bytes_total"), 6789);
  assertEquals(samples.get("wsproof_closes_total 4xxx peer"), 3);
  assertEquals(samples.get("wsproof_refusals_total origin"), 3);
  assertEquals(samples.size, 8 + 12 + 13 + 3 + 4);
});

Deno.test("respond() gives every metric a valid name, and a help", async () => {
  for (const { name, help, type } of parsePrometheus(await read(SNAPSHOT))) {
    assert(validateMetricName(name), name);
    assertMatch(name, /^(wsproof|process)(_[a-z]+)+$/);
    assertEquals(name.endsWith("_total"), type === "COUNTER", name);
    assertMatch(help, /^[A-Z].*\.$/);
  }
});

Deno.test("respond() keeps the series of closes few, whatever codes peers choose", async () => {
  const closes: CloseCount[] = [];
  for (const initiator of ["peer", "server", "none"] as const) {
    for (let code = 0; code < 6000; code++) closes.push({ code, initiator, count: 1 });
  }
  const series = [...samplesOf(await read({ ...NOTHING, closes }))].filter(([key]) => key.startsWith("wsproof_closes"));
  assertEquals(series.length, 72);
  assertEquals(series.reduce((total, [, count]) => total + count, 0), 18_000);
  const ofPeers = new Map(series);
  assertEquals(
    ["1xxx", "2xxx", "3xxx", "4xxx", "other"].map((code) => ofPeers.get(`wsproof_closes_total ${code} peer`)),
    [
      1000 - 16,
      1000,
      1000 - 3,
      1000,
      2000,
    ],
  );
});

for (
  const [accept, type] of [
    [undefined, TEXT_TYPE],
    ["", TEXT_TYPE],
    ["*/*", TEXT_TYPE],
    ["text/html,application/xhtml+xml,*/*;q=0.8", TEXT_TYPE],
    ["text/plain", TEXT_TYPE],
    [PROMETHEUS_ACCEPTS, OPENMETRICS_TYPE],
    ["application/openmetrics-text", OPENMETRICS_TYPE],
    ["text/plain;q=0.4 , Application/OpenMetrics-Text ; Version = 1.0.0 ; Q = 0.5", OPENMETRICS_TYPE],
    ["application/openmetrics-text ; q = 0.4 , text/plain ; version=0.0.4; q=0.5", TEXT_TYPE],
    ["application/openmetrics-text;version=0.0.1,*/*;q=0.1", TEXT_TYPE],
    ["application/openmetrics-text;q=0", TEXT_TYPE],
    ["application/openmetrics-text;q=soon", TEXT_TYPE],
    [";;=,;q", TEXT_TYPE],
  ] as const
) {
  Deno.test(`respond() answers with ${type.split(";")[0]} to Accept: ${accept}`, async () => {
    using metrics = createMetrics(() => NOTHING, "1.2.3");
    const response = await ask(metrics, accept);
    assertEquals([response.status, response.headers.get("content-type")], [200, type]);
    assertEquals(response.headers.get("vary"), "accept");
    assertEquals((await response.text()).endsWith("# EOF\n"), type === OPENMETRICS_TYPE);
  });
}

Deno.test("respond() reads the server at each request, also for 100 at once", async () => {
  let asked = 0;
  using metrics = createMetrics(() => ({ ...NOTHING, accepted: ++asked, messages: asked }), "1.2.3");
  assertEquals(asked, 0);
  const answers = await Promise.all(
    Array.from({ length: 100 }, (_, index) => ask(metrics, index % 2 ? PROMETHEUS_ACCEPTS : "*/*")),
  );
  for (const [index, answer] of answers.entries()) {
    const text = await answer.text();
    assertStringIncludes(text, `\nwsproof_connections_accepted_total ${index + 1}\n`);
    assertStringIncludes(text, `\nwsproof_messages_total ${index + 1}\n`);
  }
  assertEquals(asked, 100);
});

Deno.test("createMetrics() leaves prom-client's own registry alone, and can be called twice", async () => {
  using first = createMetrics(() => ({ ...NOTHING, accepted: 1 }), "1.2.3");
  using second = createMetrics(() => ({ ...NOTHING, accepted: 2 }), "1.2.3");
  assertStringIncludes(await (await ask(first)).text(), "\nwsproof_connections_accepted_total 1\n");
  assertStringIncludes(await (await ask(second)).text(), "\nwsproof_connections_accepted_total 2\n");
  assertEquals(register.getMetricsAsArray(), []);
});

/** Starts a process with the server's permissions, which ends with its standard input. */
function startProcess(env: Record<string, string>, args: readonly string[] = [], flags: readonly string[] = []) {
  const permissions = ["--no-prompt", "--allow-net", "--allow-read", "--allow-env=WSPROOF_*"];
  return new Deno.Command(Deno.execPath(), {
    args: ["run", ...standIns, ...permissions, ...flags, "tests/support/otlp.ts", ...args],
    cwd: new URL("../../", import.meta.url),
    env: { NO_COLOR: "1", ...env },
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

function startExporter(endpoint: string, isOn: boolean) {
  return startProcess({
    OTEL_DENO: `${isOn}`,
    OTEL_EXPORTER_OTLP_ENDPOINT: endpoint,
    OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
    OTEL_METRIC_EXPORT_INTERVAL: "50",
  });
}

Deno.test("respond() keeps no memory of 1,000 answers", async () => {
  const measuring = startProcess({}, ["memory"], ["--v8-flags=--expose-gc"]);
  await measuring.stdin.close();
  const { code, stdout, stderr } = await outcomeOf(measuring);
  assertEquals([code, stderr], [0, ""]);
  // An answer has 4 KB: kept answers, let alone their sources, would be four times as much.
  assert(Number(stdout) < 1e6, stdout);
});

/** Reads exports until one has metrics of wsproof, or lacks them; fails if the process ends before. */
async function nextExport(
  { exports }: Collector,
  has: boolean,
  outcome: Promise<Outcome>,
): Promise<Collected | undefined> {
  while (true) {
    const next = await Promise.race([exports.read(), outcome]);
    assert("done" in next, "code" in next ? next.stderr : "");
    if ((next.value !== undefined) === has) return next.value;
  }
}

Deno.test("the instruments of OpenTelemetry are exported with OTEL_DENO=true, until disposed of", async () => {
  await using collector = startCollector();
  const exporter = startExporter(collector.url, true);
  const outcome = outcomeOf(exporter);
  const collected = await nextExport(collector, true, outcome);
  const stdin = exporter.stdin.getWriter();
  await stdin.write(new TextEncoder().encode("dispose\n"));
  await nextExport(collector, false, outcome);
  await stdin.close();
  const { code, stderr } = await outcome;
  assertEquals([code, stderr], [0, ""]);

  assertEquals(collected?.version, "1.2.3");
  const metrics = Object.entries(collected?.metrics ?? {}).sort();
  assertEquals(
    metrics.map(([name, { unit, isMonotonic }]) => [name, unit, isMonotonic]),
    [
      ["wsproof.server.connection.accepts", "{connection}", true],
      ["wsproof.server.connection.active", "{connection}", false],
      ["wsproof.server.connection.closes", "{connection}", true],
      ["wsproof.server.deflate.connections", "{connection}", true],
      ["wsproof.server.log.drops", "{line}", true],
      ["wsproof.server.message.size", "By", true],
      ["wsproof.server.messages", "{message}", true],
      ["wsproof.server.request.refusals", "{request}", true],
      ["wsproof.server.troubles", "{trouble}", true],
      ["wsproof.server.wire.io", "By", true],
    ],
  );
  const values = metrics.map(([, { points }]) => points);
  const [accepts, active, closes, deflated, drops, size, messages, refusals, troubles, wire] = values;
  assertEquals([accepts, active, size, messages, deflated], [12, 2, 6789, 345, 3].map((value) => ({ "": value })));
  assertEquals(wire, { "network.io.direction=receive": 4321, "network.io.direction=transmit": 1234 });
  assertEquals([drops, troubles], [{ "": 6 }, {
    "wsproof.trouble.kind=accept": 4,
    "wsproof.trouble.kind=runtime": 0,
    "wsproof.trouble.kind=worker": 0,
  }]);
  assertEquals(closes, {
    "wsproof.close.code=1000 wsproof.close.initiator=peer": 5,
    "wsproof.close.code=1001 wsproof.close.initiator=peer": 0,
    "wsproof.close.code=1005 wsproof.close.initiator=peer": 0,
    "wsproof.close.code=1001 wsproof.close.initiator=server": 0,
    "wsproof.close.code=1002 wsproof.close.initiator=server": 0,
    "wsproof.close.code=1007 wsproof.close.initiator=server": 0,
    "wsproof.close.code=1008 wsproof.close.initiator=server": 0,
    "wsproof.close.code=1009 wsproof.close.initiator=server": 1,
    "wsproof.close.code=1011 wsproof.close.initiator=server": 0,
    "wsproof.close.code=1013 wsproof.close.initiator=server": 0,
    "wsproof.close.code=1006 wsproof.close.initiator=none": 1,
    "wsproof.close.code=4xxx wsproof.close.initiator=peer": 3,
  });
  assertEquals(refusals, {
    "wsproof.refusal.cause=plain-http": 0,
    "wsproof.refusal.cause=method": 0,
    "wsproof.refusal.cause=bad-handshake": 0,
    "wsproof.refusal.cause=version": 0,
    "wsproof.refusal.cause=host": 0,
    "wsproof.refusal.cause=origin": 3,
    "wsproof.refusal.cause=token": 0,
    "wsproof.refusal.cause=connections": 0,
    "wsproof.refusal.cause=draining": 0,
    "wsproof.refusal.cause=gone": 0,
    "wsproof.refusal.cause=head-too-long": 0,
    "wsproof.refusal.cause=head-timeout": 0,
    "wsproof.refusal.cause=head-limit": 1,
  });
});

for (const [isOn, what] of [[true, "posts when it ends"], [false, "posts nothing"]] as const) {
  // The first case proves that the second would detect a post.
  Deno.test(`a process with OTEL_DENO=${isOn} ${what}`, async () => {
    await using collector = startCollector();
    const exporter = startExporter(collector.url, isOn);
    const outcome = outcomeOf(exporter);
    await exporter.stdin.close();
    const { code, stdout, stderr } = await outcome;
    assertEquals([code, stderr], [0, ""]);
    assertEquals(ours(stdout), TEXT);
    assertEquals(collector.paths.includes("/v1/metrics"), isOn);
    assertEquals(collector.paths.length > 0, isOn);
  });
}

Deno.test("respond() reads an Accept field of megabytes in linear time", async () => {
  // A quadratic parser would take hours.
  const accept = `text/plain;q=0.5;a${" ".repeat(5_000_000)}b, application/openmetrics-text ; version = 1.0.0`;
  using metrics = createMetrics(() => SNAPSHOT, "1.2.3");
  const response = await metrics.respond(new Request("http://127.0.0.1/metrics", { headers: { accept } }));
  assertStringIncludes(response.headers.get("content-type") ?? "", "openmetrics");
  await response.body?.cancel();
});
