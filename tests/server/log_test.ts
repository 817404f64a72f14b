import { assertEquals, assertMatch } from "@std/assert";
import type { EchoClosed } from "../../lib/server/policy.ts";
import { createLog, logLine, type ServerEvent } from "../../lib/server/log.ts";

const TIME = new Date(0);
const CLOSED: EchoClosed = {
  type: "closed",
  id: 7,
  peer: "127.0.0.1:50000",
  received: { code: 1000, reason: "" },
  sent: { code: 1000, reason: "" },
  initiator: "peer",
  end: "close-frame",
  tcp: "local",
  detail: "",
  messages: 1,
  bytes: 2,
  ms: 3,
};

for (
  const [event, line] of [
    [
      { type: "opened", id: 1, peer: "[::1]:50000", path: "/a?b", protocol: "" },
      '#1 opened by [::1]:50000 for "/a?b"',
    ],
    [
      { type: "opened", id: 1, peer: "p", path: "/", protocol: "chat" },
      '#1 opened by p for "/" subprotocol "chat"',
    ],
    [CLOSED, "#7 closed: 1000 (normal closure); 1 message, 2 bytes in 3.00 ms"],
    [
      {
        ...CLOSED,
        received: null,
        sent: { code: 1008, reason: "at most 5 messages a second" },
        initiator: "local",
        messages: 5,
      },
      "#7 closed: no known close frame, after our " +
      '1008 (policy violation), reason "at most 5 messages a second"; 5 messages, 2 bytes in 3.00 ms',
    ],
    [
      { ...CLOSED, received: null, sent: null, initiator: null, detail: "Unexpected EOF" },
      '#7 closed: "Unexpected EOF"; 1 message, 2 bytes in 3.00 ms',
    ],
    [
      { type: "refused", peer: "p", path: "/x", status: 403, cause: "origin", reason: "No." },
      'refused p for "/x": 403 (origin): No.',
    ],
    [
      { type: "refused", peer: "p", path: "", status: 0, cause: "head-timeout", reason: "Nothing came." },
      "refused p: no answer (head-timeout): Nothing came.",
    ],
    [
      { type: "trouble", kind: "accept", error: "Too many open files" },
      'cannot accept connections: "Too many open files"',
    ],
    [{ type: "trouble", kind: "runtime", error: "Request closed" }, 'uncaught error: "Request closed"'],
    [{ type: "dropped", lines: 1 }, "1 line of this log was dropped here"],
    [{ type: "dropped", lines: 2 }, "2 lines of this log were dropped here"],
    [{ type: "draining" }, "draining"],
    [{ type: "stopped", unanswered: 0 }, "stopped"],
    [{ type: "stopped", unanswered: 2 }, "stopped: 2 peers did not answer the close frame in time"],
  ] as [ServerEvent, string][]
) {
  Deno.test(`logLine() writes as text: ${line}`, () => {
    assertEquals(logLine("text", event, TIME), `1970-01-01T00:00:00.000Z ${line}`);
    assertEquals(logLine("none", event, TIME), undefined);
    assertEquals(JSON.parse(logLine("json", event, TIME) ?? ""), { time: TIME.toISOString(), ...fieldsOf(event) });
  });
}

Deno.test("logLine() rounds a duration to microseconds", () => {
  const line = logLine("json", { ...CLOSED, ms: 5.392335000000003 }, TIME);
  assertEquals(JSON.parse(line ?? "").ms, 5.392);
});

/** The fields of an event in the log; at an end, `sent` is the server's close frame if it closed first. */
function fieldsOf(event: ServerEvent) {
  if (event.type !== "closed") return event;
  const { detail: error, ...fields } = event;
  return { ...fields, error, sent: event.initiator === "peer" ? null : event.sent };
}

Deno.test("logLine() writes the end of a connection with the fields that scripts read, in their order", () => {
  assertEquals(
    logLine("json", CLOSED, TIME),
    '{"time":"1970-01-01T00:00:00.000Z","type":"closed","id":7,"peer":"127.0.0.1:50000",' +
      '"received":{"code":1000,"reason":""},"sent":null,"error":"","messages":1,"bytes":2,"ms":3,' +
      '"initiator":"peer","end":"close-frame","tcp":"local"}',
  );
});

for (const incomplete of [{ kind: "text", bytes: 5 }, "not-known", null] as const) {
  Deno.test(`logLine() writes the message inside which the peer ended, when that is ${JSON.stringify(incomplete)}`, () => {
    assertEquals(JSON.parse(logLine("json", { ...CLOSED, incomplete }, TIME) ?? "").incomplete, incomplete);
  });
}

Deno.test("logLine() says where the server listens in every form", () => {
  const event = { type: "listening", url: "wss://127.0.0.1:1/" } as const;
  assertEquals(logLine("text", event, TIME), "Listening on wss://127.0.0.1:1/");
  assertEquals(logLine("none", event, TIME), "Listening on wss://127.0.0.1:1/");
  assertEquals(JSON.parse(logLine("json", event, TIME) ?? ""), { time: TIME.toISOString(), ...event });
});

Deno.test("logLine() keeps a peer's text on one line, without control characters", () => {
  const nasty = '%s%n\n\r\u001b[2J\u0007\u007f\u009b31m\u0085\u2028\u202e\ufeff"\\ {} ${x}';
  const events: ServerEvent[] = [
    { type: "opened", id: 1, peer: "p", path: nasty, protocol: nasty },
    { ...CLOSED, received: { code: 4000, reason: nasty } },
    { ...CLOSED, received: null, detail: nasty },
    { type: "refused", peer: "p", path: nasty, status: 400, cause: "bad-handshake", reason: "No." },
  ];
  for (const event of events) {
    for (const form of ["text", "json"] as const) {
      const line = logLine(form, event, TIME) ?? "";
      // deno-lint-ignore no-control-regex -- the test looks for them
      assertMatch(line, /^[^\0-\x1f\x7f-\x9f\u2028\u202e\ufeff]+$/);
      if (form === "json") assertEquals(JSON.parse(line), { time: TIME.toISOString(), ...fieldsOf(event) });
    }
  }
});

Deno.test("logLine() names the worker, if there are several", () => {
  const event = { type: "draining" } as const;
  assertEquals(logLine("text", event, TIME, "w1"), "1970-01-01T00:00:00.000Z [w1] draining");
  assertEquals(JSON.parse(logLine("json", event, TIME, "w1") ?? ""), {
    time: TIME.toISOString(),
    worker: "w1",
    ...event,
  });
});

Deno.test("createLog() loses a line that cannot be written, says so once, and counts it in the log", async () => {
  const [lines, warnings]: [string[], string[]] = [[], []];
  let isFull = true;
  const sink = {
    write(bytes: Uint8Array) {
      if (isFull) return Promise.reject(new Error("No space left on device"));
      lines.push(new TextDecoder().decode(bytes).replace(/^\S+ |\n$/g, ""));
      return Promise.resolve(bytes.byteLength);
    },
  };
  const log = createLog("text", sink, { warn: (line) => warnings.push(line) });
  const tell = async () => {
    log.tell({ type: "draining" });
    assertEquals(await log.flush(10_000), 0);
  };
  await tell();
  await tell();
  assertEquals(warnings, ["wsproof: Cannot write the log: No space left on device"]);
  isFull = false;
  await tell();
  isFull = true;
  await tell();
  assertEquals([lines, warnings.length], [["draining", "2 lines of this log were dropped here"], 2]);
  assertEquals(log.droppedLines, 3);
});

Deno.test("createLog() survives a warning that cannot be written either", async () => {
  const sink = { write: () => Promise.reject(new Error("No space left on device")) };
  const log = createLog("text", sink, {
    warn() {
      throw new Error("No space either");
    },
  });
  log.tell({ type: "draining" });
  assertEquals([await log.flush(10_000), log.droppedLines], [0, 1]);
});
