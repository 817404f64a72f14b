/** Reports and events in words, and as JSON. */

import { assertEquals, assertFalse, assertStringIncludes } from "@std/assert";
import { exchange } from "../../lib/client/exchange.ts";
import type { ExchangeEvent, ExchangeReport, Stage, StageName } from "../../lib/client/exchange_report.ts";
import { formatEvent, formatJson, formatReport } from "../../lib/client/report.ts";
import { formatMs } from "../../lib/protocol/message.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import type { Verdict } from "../../lib/client/verdict.ts";

type Parts = Partial<ExchangeReport> & { readonly changed?: Partial<Record<StageName, Partial<Stage>>> };

const NOT_REACHED = { ok: null, ms: null, detail: "" };

/** The report of a proven exchange, except for some parts. */
function reportOf({ changed = {}, ...parts }: Parts = {}): ExchangeReport {
  const hello = 'text, 11 bytes: "Hello world"';
  const stages: Stage[] = [
    { name: "connect", ok: true, ms: null, detail: "part of the upgrade" },
    { name: "upgrade", ok: true, ms: 1.5, detail: "ws://127.0.0.1:6455/" },
    { name: "send", ok: true, ms: 0.25, detail: hello },
    { name: "receive", ok: true, ms: 12.34, detail: hello },
    { name: "verify", ok: true, ms: 0.01, detail: "the same as sent" },
    { name: "close", ok: true, ms: 1234, detail: "1000 (normal closure), confirmed by the peer" },
  ];
  return {
    schema: "wsproof.exchange/1",
    url: "ws://127.0.0.1:6455/",
    proxy: null,
    transport: "builtin",
    protocol: "",
    extensions: "",
    ok: true,
    verdict: "proven",
    exitCode: 0,
    problem: "",
    hint: "",
    stages: stages.map((stage) => ({ ...stage, ...changed[stage.name] })),
    refusal: null,
    messages: [],
    messagesOmitted: 2,
    sent: { messages: 1, bytes: 11 },
    received: { messages: 1, bytes: 11 },
    wire: null,
    close: null,
    ms: 1250,
    ...parts,
  };
}

/** The report of an exchange that failed in a stage; later stages were not reached. */
function failedIn(stage: StageName, detail: string): Parts {
  const names: StageName[] = ["connect", "upgrade", "send", "receive", "verify", "close"];
  const after = names.slice(names.indexOf(stage) + 1).map((name) => [name, NOT_REACHED]);
  return { ok: false, changed: { ...Object.fromEntries(after), [stage]: { ok: false, ms: 5, detail } } };
}

Deno.test("formatReport() returns four steps of 80 columns, when all went well", () => {
  assertEquals(formatReport(reportOf()).steps, [
    `${"  ✓ upgraded  ws://127.0.0.1:6455/".padEnd(72)} 1.50 ms`,
    `${'  ✓ sent      text, 11 bytes: "Hello world"'.padEnd(72)} 0.25 ms`,
    `${'  ✓ received  text, 11 bytes: "Hello world", the same as sent'.padEnd(72)} 12.3 ms`,
    `${"  ✓ closed    1000 (normal closure), confirmed by the peer".padEnd(73)} 1.23 s`,
  ]);
});

/** The lines of a report, with runs of spaces collapsed. */
function stepsOf(parts: Parts): string[] {
  return formatReport(reportOf(parts)).steps.map((line) => line.trim().replace(/ +/g, " "));
}

const UPGRADED = "✓ upgraded ws://127.0.0.1:6455/ 1.50 ms";
const SENT = '✓ sent text, 11 bytes: "Hello world" 0.25 ms';
const RECEIVED = '✓ received text, 11 bytes: "Hello world", the same as sent 12.3 ms';
const FAILED = [
  { what: "no connection was made", parts: failedIn("connect", "No answer"), steps: ["✗ connected No answer 5.00 ms"] },
  { what: "the upgrade was refused", parts: failedIn("upgrade", "Refused"), steps: ["✗ upgraded Refused 5.00 ms"] },
  { what: "sending failed", parts: failedIn("send", "Lost"), steps: [UPGRADED, "✗ sent Lost 5.00 ms"] },
  { what: "no reply came", parts: failedIn("receive", "None"), steps: [UPGRADED, SENT, "✗ received None 5.00 ms"] },
  {
    what: "the reply was wrong",
    parts: failedIn("verify", "Wrong reply"),
    steps: [UPGRADED, SENT, "✗ received Wrong reply 12.3 ms"],
  },
  {
    what: "the close failed",
    parts: failedIn("close", "Dropped"),
    steps: [UPGRADED, SENT, RECEIVED, "✗ closed Dropped 5.00 ms"],
  },
  {
    what: "a reply failed to come after others that were right",
    parts: {
      changed: { receive: { ok: false, detail: "None" }, verify: { ok: null, detail: "" }, close: NOT_REACHED },
    },
    steps: [UPGRADED, SENT, "✗ received None 12.3 ms"],
  },
  {
    what: "sending failed after some replies",
    parts: {
      changed: {
        send: { ok: false, detail: "Lost" },
        receive: { ok: null, detail: "" },
        verify: { ok: null, detail: "" },
        close: NOT_REACHED,
      },
    },
    steps: [UPGRADED, "✗ sent Lost 0.25 ms", "- received not finished 12.3 ms"],
  },
  {
    what: "a step began and did not finish",
    parts: {
      changed: { send: { ok: null, detail: "" }, receive: NOT_REACHED, verify: NOT_REACHED, close: NOT_REACHED },
    },
    steps: [UPGRADED, "- sent not finished 0.25 ms"],
  },
  {
    what: "no stage was reached",
    parts: {
      changed: {
        connect: NOT_REACHED,
        upgrade: NOT_REACHED,
        send: NOT_REACHED,
        receive: NOT_REACHED,
        verify: NOT_REACHED,
        close: NOT_REACHED,
      },
    },
    steps: [],
  },
  {
    what: "a step has no duration",
    parts: {
      changed: { upgrade: { ok: false, ms: null }, send: NOT_REACHED, receive: NOT_REACHED, verify: NOT_REACHED },
    },
    steps: ["✗ upgraded ws://127.0.0.1:6455/", "✓ closed 1000 (normal closure), confirmed by the peer 1.23 s"],
  },
];
for (const { what, parts, steps } of FAILED) {
  Deno.test(`formatReport() returns ${steps.length} steps and no more, when ${what}`, () => {
    assertEquals(stepsOf(parts), steps);
  });
}

/** The report of an exchange that failed in a stage, with the problem in the last line. */
const told = (stage: StageName, verdict: Verdict): Parts => ({
  ...failedIn(stage, "What was wrong"),
  verdict,
  problem: "What was wrong",
});
const TOLD = [
  { parts: told("connect", "no-connection"), step: "✗ connected ws://127.0.0.1:6455/ 5.00 ms" },
  { parts: told("upgrade", "handshake-refused"), step: "✗ upgraded ws://127.0.0.1:6455/ 5.00 ms" },
  { parts: told("send", "connection-lost"), step: "✗ sent connection lost 5.00 ms" },
  { parts: told("receive", "no-reply"), step: "✗ received no complete message in time 5.00 ms" },
  {
    parts: told("verify", "wrong-reply"),
    step: '✗ received text, 11 bytes: "Hello world", not as expected 12.3 ms',
  },
  { parts: told("close", "close-not-confirmed"), step: "✗ closed not confirmed 5.00 ms" },
  { parts: told("close", "interrupted"), step: "✗ closed interrupted 5.00 ms" },
];
for (const { parts, step } of TOLD) {
  Deno.test(`formatReport() says a problem once, when the last step is "${step}"`, () => {
    const { steps, verdict } = formatReport(reportOf(parts));
    assertEquals(steps.at(-1)?.trim().replace(/ +/g, " "), step);
    assertEquals([...steps, ...verdict].filter((line) => line.includes("What was wrong")).length, 1);
  });
}

Deno.test("formatReport() says the problem of the close in its step, when another stage had failed before", () => {
  const { receive, close } = {
    receive: { ok: false, detail: "No message" },
    close: { ok: false, detail: "Dropped" },
  };
  const report = reportOf({ ok: false, verdict: "no-reply", problem: "No message", changed: { receive, close } });
  assertEquals(formatReport(report).steps.at(-1)?.includes("✗ closed    Dropped"), true);
});

/** Characters that could control a terminal, reorder a line or hide in it: as text, and as printed. */
const HOSTILE = "\u001b[2J\u0085\u009b31m\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\ud800.\udc00";
const HARMLESS = String
  .raw`\u001b[2J\u0085\u009b31m\u061c\u200e\u200f\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\ud800.\udc00`;
const TOKEN = "wsproof.bearer.b3BlbiBzZXNhbWU";

/** A report whose peer wrote every possible text. */
function hostileReport(text: string): ExchangeReport {
  const frame = { code: 4000, reason: text };
  return reportOf({
    ok: false,
    verdict: "wrong-reply",
    exitCode: 6,
    protocol: text,
    problem: text,
    hint: text,
    changed: { upgrade: { detail: text }, receive: { detail: text }, close: { ok: false, detail: `not ${text}` } },
    refusal: { from: "server", status: 403, problems: [text], fields: [["X-Text", text], [text, ""]], body: text },
    close: { sent: frame, received: frame, initiator: "peer", end: "close-frame", tcp: "peer", detail: text },
  });
}

Deno.test("formatJson() escapes what could steer a terminal, and stays the same JSON", () => {
  const report = hostileReport(HOSTILE);
  const json = formatJson(report);
  assertEquals([...json].filter((char) => HOSTILE.replace(/[ -~]/g, "").includes(char)), []);
  assertEquals(JSON.parse(json), report);
});

Deno.test("formatJson() hides the values of fields of a refusal that may be secrets", () => {
  const fields = [["Set-Cookie", "a=1"], ["Location", "http://u:secret@a/"]] as const;
  const report = reportOf({ refusal: { from: "server", status: 403, problems: [], fields, body: "" } });
  const shown = JSON.parse(formatJson(report)).refusal.fields;
  assertEquals(shown, [["Set-Cookie", "***"], ["Location", "http://u:***@a/"]]);
});

Deno.test("formatReport() escapes what could steer a terminal in steps and verdict", () => {
  const { steps, verdict } = formatReport(hostileReport(HOSTILE), { columns: 200 });
  assertEquals(verdict, [`wrong-reply (exit 6): ${HARMLESS}`, `  ${HARMLESS}`]);
  assertEquals(steps.filter((line) => line.includes(HARMLESS)).length, 3);
  assertEquals([...steps.join("")].filter((char) => HOSTILE.replace(/[ -~]/g, "").includes(char)), []);
});

Deno.test("formatEvent() escapes what could steer a terminal", () => {
  const event = { atMs: 1, type: "upgraded", protocol: HOSTILE } as const;
  assertEquals(formatEvent(event), `    1.00 ms  upgraded, subprotocol ${HARMLESS}`);
});

Deno.test("no form of a report shows a token offered as a subprotocol", () => {
  const report = hostileReport(`Server selected "${TOKEN}", ${TOKEN}`);
  const { steps, verdict } = formatReport(report, { columns: 200 });
  const event = formatEvent({ atMs: 1, type: "upgraded", protocol: TOKEN });
  const shown = [...steps, ...verdict, event, formatJson(report)];
  assertEquals(shown.filter((text) => text.includes("b3BlbiBzZXNhbWU")), []);
  assertEquals(shown.filter((text) => text.includes("wsproof.bearer.***")).length, 7);
});

for (const [columns, room] of [[80, 58], [100, 78], [40, 18]] as const) {
  Deno.test(`formatReport() shows a whole detail, when it just fits ${columns} columns`, () => {
    const report = reportOf({ changed: { upgrade: { detail: "x".repeat(room) } } });
    assertEquals(formatReport(report, { columns }).steps[0], `  ✓ upgraded  ${"x".repeat(room)} 1.50 ms`);
  });

  Deno.test(`formatReport() puts a whole word on a line below the time, when it is one too long for ${columns} columns`, () => {
    const url = `ws://${"x".repeat(room - 4)}`;
    const [first = "", second = ""] = formatReport(reportOf({ changed: { upgrade: { detail: url } } }), { columns })
      .steps;
    assertEquals([first, second], [`${"  ✓ upgraded".padEnd(columns - 7)}1.50 ms`, `              ${url}`]);
  });
}

for (const columns of [60, 80, 140]) {
  for (const stage of ["connect", "upgrade", "send", "receive", "verify", "close"] as const) {
    Deno.test(`formatReport() keeps every word of a step within ${columns} columns, when the problem of ${stage} is long`, () => {
      const detail = Array.from({ length: 60 }, (_, index) => `word${index}`).join(" ");
      const { steps } = formatReport(reportOf(failedIn(stage, detail)), { columns });
      assertEquals(steps.filter((line) => line.length > columns), []);
      assertStringIncludes(steps.join(" ").replace(/ (5.00|12.3|0.25|1.50) ms/g, "").replace(/ +/g, " "), detail);
    });
  }

  Deno.test(`formatReport() breaks the verdict at words, when it has ${columns} columns`, () => {
    const problem = `Wrong reply: binary, 65536 bytes, instead of binary, 1048576 bytes; ${"and ".repeat(40)}so on`;
    const report = reportOf({ ok: false, verdict: "wrong-reply", exitCode: 6, problem, hint: "a hint ".repeat(20) });
    const { verdict } = formatReport(report, { columns });
    assertEquals(verdict.filter((line) => line.length > columns), []);
    assertEquals(verdict.join(" ").replace(/ +/g, " "), formatReport(report).verdict.join(" ").replace(/ +/g, " "));
  });
}

Deno.test("formatReport() keeps every step within 80 columns, when characters are two columns wide", () => {
  const { steps } = formatReport(reportOf({ changed: { send: { detail: "語 ".repeat(50) } } }));
  const columns = steps.map((line) => line.length + (line.match(/語/g)?.length ?? 0));
  assertEquals(columns.filter((count) => count > 80), []);
});

Deno.test("formatReport() keeps a step on one line, when the detail has line ends", () => {
  const { steps } = formatReport(reportOf({ changed: { send: { ok: false, detail: "Error: a\n    at b\r\n" } } }));
  assertEquals(steps.filter((line) => /[\r\n]/.test(line)), []);
});

Deno.test("formatReport() uses no colours by default", () => {
  const { steps, verdict } = formatReport(reportOf());
  assertFalse([...steps, ...verdict].join("").includes("\x1b"));
});

const COLORED = [
  { what: "a step passed", parts: {}, mark: "\x1b[32m✓\x1b[0m", verdict: "\x1b[1;32mproven\x1b[0m" },
  {
    what: "a step failed",
    parts: { ...failedIn("upgrade", "Refused"), verdict: "handshake-refused" as const },
    mark: "\x1b[31m✗\x1b[0m",
    verdict: "\x1b[1;31mhandshake-refused\x1b[0m",
  },
  {
    what: "a step did not finish",
    parts: { changed: { upgrade: { ok: null } } },
    mark: "\x1b[90m-\x1b[0m",
    verdict: "\x1b[1;32mproven\x1b[0m",
  },
];
for (const { what, parts, mark, verdict } of COLORED) {
  Deno.test(`formatReport() colours only mark and verdict, with colours and when ${what}`, () => {
    const [plain, painted] = [false, true].map((color) => formatReport(reportOf(parts), { color }));
    assertEquals(painted?.steps[0]?.slice(0, 2 + mark.length), `  ${mark}`);
    assertEquals(painted?.verdict[0]?.slice(0, verdict.length), verdict);
    assertEquals(JSON.stringify(painted).replace(/\\u001b\[[\d;]+m/g, ""), JSON.stringify(plain));
  });
}

const none = { verify: { detail: "none expected" } };
const PROVEN: readonly { what: string; parts: Parts; text: string }[] = [
  { what: "one reply came", parts: {}, text: "reply the same as sent" },
  {
    what: "three replies came",
    parts: { sent: { messages: 3, bytes: 3 }, received: { messages: 3, bytes: 3 } },
    text: "3 replies the same as sent",
  },
  {
    what: "a greeting was skipped",
    parts: { received: { messages: 2, bytes: 18 } },
    text: "reply the same as sent",
  },
  {
    what: "nothing was sent",
    parts: { sent: { messages: 0, bytes: 0 }, received: { messages: 0, bytes: 0 } },
    text: "nothing sent",
  },
  {
    what: "nothing was sent and a greeting was skipped",
    parts: { sent: { messages: 0, bytes: 0 } },
    text: "nothing sent",
  },
  {
    what: "no reply was expected",
    parts: { received: { messages: 0, bytes: 0 }, changed: none },
    text: "sent, no reply expected",
  },
  {
    what: "no reply was expected and a greeting was skipped",
    parts: { changed: none },
    text: "sent, no reply expected",
  },
];
for (const { what, parts, text } of PROVEN) {
  Deno.test(`formatReport() says exactly what was proven, when ${what}`, () => {
    assertEquals(formatReport(reportOf(parts)).verdict, [`proven in 1.25 s: upgraded; ${text}; close confirmed`]);
  });
}

for (const hint of ["", "use --split"]) {
  Deno.test(`formatReport() says verdict, exit code and problem, when it failed with the hint "${hint}"`, () => {
    const report = reportOf({ ok: false, verdict: "no-reply", exitCode: 5, problem: "No message", hint });
    const lines = ["no-reply (exit 5): No message", ...(hint === "" ? [] : ["  use --split"])];
    assertEquals(formatReport(report).verdict, lines);
  });
}

Deno.test("formatJson() returns one line that parses to the report, when texts have line ends", () => {
  const report = reportOf({ problem: "a\nb\r\n", hint: "\u2028" });
  const json = formatJson(report);
  assertFalse(/[\r\n]/.test(json));
  assertEquals(JSON.parse(json), report);
});

Deno.test("formatJson() rounds times to microseconds, keeps whole numbers, null and text", () => {
  const changed = { upgrade: { ms: 1.9996 }, send: { ms: 1e-9 }, connect: { ms: null } };
  const report: ExchangeReport = JSON.parse(formatJson(reportOf({ ms: 0.12345, problem: "1.23456", changed })));
  assertEquals([report.ms, report.problem, report.exitCode], [0.123, "1.23456", 0]);
  assertEquals(report.stages.map(({ ms }) => ms), [null, 2, 0, 12.34, 0.01, 1234]);
});

for (const [sent, listed, omitted] of [[500, 1000, 0], [501, 1000, 2]] as const) {
  Deno.test(`exchange() reports ${listed} messages and omits ${omitted}, when ${sent} were echoed`, async () => {
    const server = serveEcho({ port: 0 });
    const report = await exchange(server.url, { messages: Array.from({ length: sent }, () => "a") });
    await server.shutdown();
    assertEquals([report.messages.length, report.messagesOmitted], [listed, omitted]);
    assertEquals([report.sent, report.received], [{ messages: sent, bytes: sent }, { messages: sent, bytes: sent }]);
  });
}

const total = { messages: 1, bytes: 2 };
const record = { sent: null, received: null, initiator: null, end: "no-close-frame", tcp: "peer", detail: "" } as const;
const EVENTS: readonly { event: ExchangeEvent; line: string }[] = [
  { event: { atMs: 0, type: "connecting", url: "ws://a/" }, line: "    0.00 ms  connecting to ws://a/" },
  { event: { atMs: 1.5, type: "upgraded", protocol: "" }, line: "    1.50 ms  upgraded" },
  { event: { atMs: 12.34, type: "upgraded", protocol: "chat" }, line: "    12.3 ms  upgraded, subprotocol chat" },
  { event: { atMs: 123.4, type: "sent", message: "né", total }, line: '     123 ms  sent text, 3 bytes: "né"' },
  {
    event: { atMs: 1234, type: "received", message: new Uint8Array(2), total },
    line: "     1.23 s  received binary, 2 bytes: 00 00",
  },
  {
    event: { atMs: 1, type: "closing", frame: { code: 1000, reason: "bye" } },
    line: '    1.00 ms  closing with 1000 (normal closure), reason "bye"',
  },
  {
    event: { atMs: 1, type: "closed", record },
    line: "    1.00 ms  ended: Connection ended without a close frame; the peer ended TCP",
  },
  { event: { atMs: 1, type: "failed", stage: "send", problem: "Lost" }, line: "    1.00 ms  send failed" },
];
for (const { event, line } of EVENTS) {
  Deno.test(`formatEvent() says "${line.trim()}", when that happened`, () => assertEquals(formatEvent(event), line));
}

const DURATIONS = [
  [0, "0.00 ms"],
  [0.1234, "0.12 ms"],
  [1, "1.00 ms"],
  [9.994, "9.99 ms"],
  [9.996, "10.0 ms"],
  [10, "10.0 ms"],
  [99.94, "99.9 ms"],
  [99.95, "100 ms"],
  [999.4, "999 ms"],
  [999.5, "1.00 s"],
  [1234, "1.23 s"],
  [59_999, "60.00 s"],
  [86_400_000, "86400.00 s"],
] as const;
for (const [ms, text] of DURATIONS) {
  Deno.test(`formatMs() is ${text}, when there are ${ms} ms`, () => assertEquals(formatMs(ms), text));
}

const COMPRESSED: readonly [extensions: string, wire: ExchangeReport["wire"], lines: readonly string[]][] = [
  ["", { sent: 5, received: 5 }, []],
  ["permessage-deflate", null, []],
  ["permessage-deflate", { sent: 6, received: 5 }, ["  compressed: 11 bytes on the wire for 22, 50 % saved"]],
  ["permessage-deflate", { sent: 22, received: 22 }, ["  compressed: 44 bytes on the wire for 22, 100 % more"]],
  [
    "permessage-deflate; server_no_context_takeover; client_max_window_bits=9",
    { sent: 11, received: 11 },
    [
      "  compressed: 22 bytes on the wire for 22, 0 % saved",
      "  as negotiated: server_no_context_takeover; client_max_window_bits=9",
    ],
  ],
];
for (const [extensions, wire, lines] of COMPRESSED) {
  Deno.test(`formatReport() says how much "${extensions}" has saved, with ${wire?.sent} bytes sent`, () => {
    assertEquals(formatReport(reportOf({ extensions, wire })).verdict.slice(1), lines);
  });
}

Deno.test("formatEvent() says which extensions were negotiated", () => {
  const event = { atMs: 1, type: "upgraded", protocol: "chat", extensions: "permessage-deflate" } as const;
  assertEquals(formatEvent(event), "    1.00 ms  upgraded, subprotocol chat, permessage-deflate");
});
