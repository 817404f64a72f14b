/**
 * Every step of the lab against the real command line over both transports: the verdict, the exit code, and the words
 * of the cause. The table names the faults that the built-in WebSocket misses, so that a fix in the runtime is noticed.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { serveLab } from "../../lib/lab/lab.ts";
import { LAB_STEPS, parseLabPath } from "../../lib/lab/program.ts";
import type { TransportName } from "../../lib/connection/connection.ts";
import { EXIT_CODES, type Verdict } from "../../lib/client/verdict.ts";
import { client, reportOf } from "../support/command.ts";

/** The expected report of the client. */
interface Finding {
  readonly verdict: Verdict;
  /** The words of the problem, or of its hint. */
  readonly says?: RegExp;
}

/** A path of the lab, the options of the client, and the finding of each transport. */
interface Row {
  readonly path: string;
  readonly args?: readonly string[];
  /** More options, for the wire transport. */
  readonly wireArgs?: readonly string[];
  /** The finding that RFC 6455 requires; the wire transport makes it. */
  readonly wire: Finding;
  /** The finding of the built-in transport; the same by default. */
  readonly builtin?: Finding & {
    /** The reason for its different verdict. */
    readonly fooled?: string;
  };
}

const PROVEN: Finding = { verdict: "proven" };

/** Only for the stage that must time out; on a busy machine others may take longer. */
const SHORT_CONNECT = ["--connect-timeout", "0.3"];
const SHORT_REPLY = ["--reply-timeout", "0.3"];
const SHORT_CLOSE = ["--close-timeout", "0.3"];

const lost = (says: RegExp): Finding => ({ verdict: "connection-lost", says });
const refused = (says: RegExp): Finding => ({ verdict: "handshake-refused", says });
const wrong = (says: RegExp): Finding => ({ verdict: "wrong-reply", says });
const noReply: Finding = { verdict: "no-reply", says: /No complete message within 0\.3 s/ };
const unconfirmed = (says: RegExp): Finding => ({ verdict: "close-not-confirmed", says });
const fooled = (why: string, finding: Finding = PROVEN) => ({ ...finding, fooled: why });

const NOT_KNOWN = unconfirmed(/empty or invalid close frame, or with none.*--transport wire can/);
const NO_ACCEPT_CHECK = "it does not check the accept key";

/** The built-in transport cannot negotiate compression, and so misses most of these steps. */
const DEFLATE = ["--deflate"];
const TWO = ["--count", "2"];
const ANY_WINDOW = ["--deflate-params", "server_max_window_bits=10; client_max_window_bits"];
const NO_TAKEOVER = ["--deflate-params", "server_no_context_takeover"];
const NO_EXTENSION_CHECK = fooled("it does not check the extensions");
const COMPRESSED_UNASKED = "it is sent what it did not ask for, and says so";
const RESERVED = lost(/broke the protocol \(Reserved bits are not zero\)/);
const cannotInflate = (why: string) => lost(new RegExp(`broke the protocol \\(Message cannot be inflated: ${why}`));

const COMPRESSION_ROWS: readonly Row[] = [
  { path: "/deflate", args: TWO, wireArgs: DEFLATE, wire: PROVEN },
  { path: "/deflate", args: ["--size", "100KiB"], wireArgs: ["--require-deflate"], wire: PROVEN },
  { path: "/deflate", wire: PROVEN },
  { path: "/deflate/fragment/3", args: TWO, wireArgs: DEFLATE, wire: PROVEN },
  { path: "/deflate/interleave-ping", args: TWO, wireArgs: DEFLATE, wire: PROVEN },
  { path: "/deflate/corrupt", wireArgs: DEFLATE, wire: wrong(/at byte 10: "e" instead of "d"/) },
  {
    path: "/deflate/bad-utf8",
    wireArgs: DEFLATE,
    wire: lost(/broke the protocol \((Text message is not|Invalid) UTF-8\)/),
  },
  {
    path: "/deflate/rsv/2",
    wireArgs: DEFLATE,
    wire: lost(/broke the protocol \(Frame has a reserved bit set\)/),
    builtin: RESERVED,
  },
  {
    path: "/rsv/1",
    wireArgs: DEFLATE,
    wire: lost(/broke the protocol \(Frame has a reserved bit set\)/),
    builtin: RESERVED,
  },
  {
    path: "/deflate-answer",
    wire: refused(/extension "permessage-deflate" was not requested/),
    builtin: NO_EXTENSION_CHECK,
  },
  { path: "/deflate-answer", args: TWO, wireArgs: DEFLATE, wire: PROVEN },
  ...[
    ["client_max_window_bits=10", /client_max_window_bits was not requested/],
    ["server_max_window_bits=7", /server_max_window_bits has "7", which is not 8 to 15/],
    ["server_max_window_bits=16", /server_max_window_bits has "16", which is not 8 to 15/],
    ['server_max_window_bits=""', /Sec-WebSocket-Extensions is malformed/],
    ["server_max_window_bits", /server_max_window_bits has no value/],
    ["server_no_context_takeover=1", /server_no_context_takeover has a value/],
    ["server_no_context_takeover; server_no_context_takeover", /server_no_context_takeover appears twice/],
    ["x", /the parameter "x" is not known/],
  ].map(([text, says]): Row => ({
    path: `/deflate-answer/${encodeURIComponent(String(text))}`,
    wireArgs: DEFLATE,
    wire: refused(new RegExp(says ?? "")),
    builtin: NO_EXTENSION_CHECK,
  })),
  {
    path: "/deflate-answer/server_max_window_bits=11",
    wireArgs: ANY_WINDOW,
    wire: refused(/server_max_window_bits has 11, more than the requested 10/),
    builtin: NO_EXTENSION_CHECK,
  },
  {
    path: "/deflate-answer/server_max_window_bits=10;client_max_window_bits=9",
    args: TWO,
    wireArgs: ANY_WINDOW,
    wire: PROVEN,
  },
  { path: "/deflate/deflate-reset", args: TWO, wireArgs: DEFLATE, wire: PROVEN },
  { path: "/deflate/deflate-takeover", args: TWO, wireArgs: DEFLATE, wire: PROVEN },
  {
    path: "/deflate/deflate-takeover",
    args: TWO,
    wireArgs: NO_TAKEOVER,
    wire: cannotInflate("invalid distance too far back"),
    builtin: fooled("nothing is compressed for it"),
  },
  {
    path: "/deflate/deflate-final",
    args: TWO,
    wireArgs: DEFLATE,
    wire: PROVEN,
    builtin: { ...RESERVED, fooled: COMPRESSED_UNASKED },
  },
  {
    path: "/deflate/deflate-final",
    args: ["--size", "100KiB"],
    wireArgs: DEFLATE,
    wire: PROVEN,
    builtin: { ...RESERVED, fooled: COMPRESSED_UNASKED },
  },
  {
    path: "/deflate/deflate-empty",
    wireArgs: DEFLATE,
    wire: wrong(/text, 0 bytes, instead of text, 11 bytes/),
    builtin: { ...RESERVED, fooled: COMPRESSED_UNASKED },
  },
  {
    path: "/deflate/deflate-empty",
    args: ["--skip", "1"],
    wireArgs: DEFLATE,
    wire: PROVEN,
    builtin: { ...RESERVED, fooled: COMPRESSED_UNASKED },
  },
  {
    path: "/deflate/deflate-bomb/1073741824",
    wireArgs: DEFLATE,
    wire: wrong(/longer than the limit of 67108863 bytes/),
    builtin: { ...RESERVED, fooled: COMPRESSED_UNASKED },
  },
  {
    path: "/deflate/deflate-bomb/3000000",
    args: ["--skip", "1"],
    wireArgs: DEFLATE,
    wire: PROVEN,
    builtin: { ...RESERVED, fooled: COMPRESSED_UNASKED },
  },
  { path: "/deflate/deflate-garbage", wireArgs: DEFLATE, wire: cannotInflate("invalid block type"), builtin: RESERVED },
  { path: "/deflate/deflate-truncate", wireArgs: DEFLATE, wire: cannotInflate(""), builtin: RESERVED },
  { path: "/deflate/deflate-swap", wireArgs: DEFLATE, wire: cannotInflate(""), builtin: RESERVED },
  {
    path: "/deflate/rsv1-continuation",
    wireArgs: DEFLATE,
    wire: lost(/broke the protocol \(RSV1 is set on a frame that does not begin a message\)/),
    builtin: RESERVED,
  },
  {
    path: "/deflate/rsv1-control",
    wireArgs: DEFLATE,
    wire: lost(/broke the protocol \(RSV1 is set on a frame that does not begin a message\)/),
    builtin: RESERVED,
  },
];

const ROWS: readonly Row[] = [
  // The handshake.
  { path: "/refuse/403", wire: refused(/status 403 \(Forbidden\) instead of 101.*--origin/) },
  { path: "/refuse/302", wire: refused(/302.*not a redirect/), builtin: refused(/302.*not followed/) },
  { path: "/silent", args: SHORT_CONNECT, wire: { verdict: "no-connection", says: /no answer.* within 0\.3 s/i } },
  { path: "/half", args: SHORT_CONNECT, wire: { verdict: "no-connection", says: /no answer.* within 0\.3 s/i } },
  {
    path: "/slow-head/60000",
    args: SHORT_CONNECT,
    wire: { verdict: "no-connection", says: /no answer.* within 0\.3 s/i },
  },
  { path: "/slow-head/5", wire: PROVEN },
  { path: "/garbage", wire: refused(/not HTTP/) },
  {
    path: "/bad-accept",
    wire: refused(/Sec-WebSocket-Accept does not match the key/),
    builtin: fooled(NO_ACCEPT_CHECK),
  },
  { path: "/no-accept", wire: refused(/Sec-WebSocket-Accept is missing/), builtin: fooled(NO_ACCEPT_CHECK) },
  { path: "/wrong-protocol", args: ["-p", "chat"], wire: refused(/"wrong".* was not offered: "chat"/) },
  { path: "/unasked-protocol", wire: refused(/"unasked".* was not offered/) },
  {
    path: "/unasked-extension",
    wire: refused(/extension "x-unasked" was not requested/),
    builtin: fooled("it does not check the extensions"),
  },

  // Messages.
  { path: "/", wire: PROVEN },
  { path: "/echo", args: ["--count", "3"], wire: PROVEN },
  { path: "/echo/1/mute", args: ["--count", "2", ...SHORT_REPLY], wire: noReply },
  { path: "/greet/welcome", wire: wrong(/"welcome" instead of "Hello world".*use --skip 1/) },
  { path: "/greet/welcome", args: ["--skip", "1"], wire: PROVEN },
  { path: "/greet/pong/mute", args: ["--reply", "pong"], wire: PROVEN },
  { path: "/mute", args: SHORT_REPLY, wire: noReply },
  { path: "/mute", args: ["--reply-none"], wire: PROVEN },
  { path: "/delay/60000", args: [...SHORT_REPLY, ...SHORT_CLOSE], wire: noReply },
  { path: "/delay/20", wire: PROVEN },
  { path: "/slow/1", args: [...SHORT_REPLY, ...SHORT_CLOSE], wire: noReply },
  { path: "/slow/1000", wire: PROVEN },
  { path: "/unfinished", args: SHORT_REPLY, wire: noReply },
  { path: "/fragment/3", wire: PROVEN },
  { path: "/fragment/1", args: ["--size", "20000"], wire: PROVEN },
  { path: "/split-utf8", args: ["-m", "aé€😀"], wire: PROVEN },
  { path: "/interleave-ping", wire: PROVEN },
  { path: "/fragment/2/interleave-ping", wire: PROVEN },
  { path: "/corrupt", wire: wrong(/at byte 10: "e" instead of "d"/) },
  { path: "/truncate/512", args: ["--size", "1000"], wire: wrong(/512 bytes, instead of.*a power of two/) },
  { path: "/truncate/5", wire: wrong(/5 bytes, instead of text, 11 bytes.*cut off/) },
  { path: "/extend/1", wire: wrong(/12 bytes, instead of text, 11 bytes.*added something/) },
  { path: "/extend/1", args: ["--max-message", "11"], wire: wrong(/longer than the limit of 11 bytes/) },
  { path: "/duplicate", wire: wrong(/came unasked.*came twice/) },
  { path: "/swap-kind", wire: wrong(/binary, 11 bytes, instead of text, 11 bytes.*came back as binary/) },
  { path: "/reorder", args: SHORT_REPLY, wire: noReply },
  { path: "/reorder", args: ["--size", "2KiB", "--split", "1KiB"], wire: wrong(/out of order, or one is missing/) },
  { path: "/flood/1000", wire: wrong(/binary, 1024 bytes, instead of text, 11 bytes/) },
  { path: "/flood/1000", args: ["--skip", "1000"], wire: PROVEN },

  // Faults in frames.
  {
    path: "/masked",
    args: ["-b"],
    wire: lost(/broke the protocol \(Frame of a server is masked\)/),
    builtin: fooled("it takes masked frames, and does not unmask them", wrong(/11 bytes, instead of binary, 11 bytes/)),
  },
  ...["1", "2", "3"].map((bit): Row => ({
    path: `/rsv/${bit}`,
    wire: lost(/broke the protocol \(Frame has a reserved bit set\)/),
    builtin: lost(/broke the protocol \(Reserved bits are not zero\)/),
  })),
  {
    path: "/opcode/3",
    wire: lost(/broke the protocol \(Frame has the opcode 3, which is not defined\)/),
    builtin: lost(/broke the protocol \(Invalid value\)/),
  },
  {
    path: "/opcode/11",
    wire: lost(/broke the protocol \(Frame has the opcode 11, which is not defined\)/),
    builtin: lost(/broke the protocol \(Invalid value\)/),
  },
  {
    path: "/non-minimal",
    wire: lost(/broke the protocol \(Frame has the length 11 in more bytes than needed\)/),
    builtin: fooled("it takes lengths in more bytes than they need"),
  },
  {
    path: "/bad-utf8",
    wire: lost(/broke the protocol \(Text message is not UTF-8\)/),
    builtin: lost(/broke the protocol \(Invalid UTF-8\)/),
  },
  {
    path: "/stray-continuation",
    wire: lost(/broke the protocol \(Continuation came without a message to continue\)/),
    builtin: lost(/broke the protocol \(Invalid continuation frame\)/),
  },
  {
    path: "/restart",
    wire: lost(/broke the protocol \(New text message began inside an unfinished text message\)/),
    builtin: lost(/broke the protocol \(Invalid fragment\)/),
  },
  {
    path: "/big-control",
    wire: lost(/broke the protocol \(Control frame is longer than 125 bytes\)/),
    builtin: lost(/broke the protocol \(Ping frame too large\)/),
  },
  {
    path: "/fragmented-control",
    wire: lost(/broke the protocol \(Control frame is fragmented\)/),
    builtin: lost(/broke the protocol \(Control frame must not be fragmented\)/),
  },
  { path: "/ping-flood/1000", wire: PROVEN },

  // Compression.
  ...COMPRESSION_ROWS,

  // The end, begun by the lab.
  { path: "/close/1001/bye", wire: lost(/Peer closed with 1001 \(going away\), reason "bye"/) },
  { path: "/close/1009", wire: lost(/1009 \(message too big\).*--split/) },
  { path: "/echo/1/close/4001/enough", args: ["--expect-close", "4001", "--expect-reason", "enough"], wire: PROVEN },
  { path: "/echo/1/close/1001", args: ["--expect-close", "1000"], wire: unconfirmed(/1001 .*, instead of 1000/) },
  {
    path: "/close/1005",
    wire: lost(/broke the protocol \(Close frame has the code 1005, which must not be sent\)/),
    builtin: lost(/broke the protocol \(Invalid close code\)/),
  },
  { path: "/close-empty", wire: lost(/Peer closed with 1005 \(no status received\)/) },
  {
    path: "/close-byte",
    wire: lost(/broke the protocol \(Close frame has a payload of one byte\)/),
    builtin: lost(/broke the protocol \(Invalid close frame\)/),
  },
  {
    path: "/close-bad-utf8",
    wire: lost(/broke the protocol \(Close reason is not UTF-8\)/),
    builtin: lost(/broke the protocol \(Invalid UTF-8\)/),
  },
  {
    path: "/close-long",
    wire: lost(/broke the protocol \(Control frame is longer than 125 bytes\)/),
  },
  {
    path: "/close-long",
    args: ["--count", "0"],
    wire: unconfirmed(/broke the protocol \(Control frame is longer than 125 bytes\)/),
  },
  { path: "/drop", wire: lost(/without a close frame/) },
  { path: "/reset", wire: lost(/without a close frame \(.*reset/i) },
  { path: "/echo/1/reset", wire: unconfirmed(/without a close frame \(.*reset/i), builtin: NOT_KNOWN },
  { path: "/drop-mid-message", wire: lost(/without a close frame \(.*EOF/) },

  // The end, begun by the client.
  { path: "/answer-close/1011/oops", wire: unconfirmed(/1011 \(internal error\), reason "oops", instead of 1000/) },
  { path: "/answer-close/1001", args: ["--expect-close", "1001"], wire: PROVEN },
  {
    path: "/answer-close/1000/cheers",
    args: ["--expect-reason", "bye"],
    wire: unconfirmed(/reason "cheers", instead of 1000 \(normal closure\), reason "bye"/),
  },
  {
    path: "/answer-close/1006",
    wire: unconfirmed(/broke the protocol \(Close frame has the code 1006, which must not be sent\)/),
    builtin: NOT_KNOWN,
  },
  { path: "/ignore-close", args: SHORT_CLOSE, wire: unconfirmed(/did not answer the close frame in time/) },
  { path: "/drop-on-close", wire: unconfirmed(/without a close frame/), builtin: NOT_KNOWN },
  { path: "/late-close/60000", args: SHORT_CLOSE, wire: unconfirmed(/did not answer the close frame in time/) },
  { path: "/late-close/50", wire: PROVEN },
  {
    path: "/data-after-close",
    wire: unconfirmed(/broke the protocol \(Bytes came after the close frame\)/),
    builtin: fooled("it looks at nothing that comes after the close frame"),
  },
];

/** Concurrent client processes: more would take CPU time, and deadlines would pass. */
const MAX_PROCESSES = Math.max(2, navigator.hardwareConcurrency);

async function check(
  url: string,
  transport: TransportName,
  { path, args = [], wireArgs = [] }: Row,
  finding: Finding,
): Promise<void> {
  const more = transport === "wire" ? wireArgs : [];
  const outcome = await client(["--json", "--transport", transport, ...args, ...more, url.replace(/\/$/, path)]);
  const report = reportOf(outcome);
  const story = `${report.problem}; ${report.hint}`;
  assertEquals([report.verdict, outcome.code], [finding.verdict, EXIT_CODES[finding.verdict]], story);
  assertEquals(report.transport, transport);
  if (finding.says) assertMatch(story, finding.says);
}

for (const transport of ["builtin", "wire"] as const) {
  Deno.test(`client over ${transport} gives the right verdict on every step of the lab`, async (t) => {
    const lab = await serveLab({ port: 0 });
    const left = [...ROWS];
    const work = async () => {
      for (let row = left.shift(); row !== undefined; row = left.shift()) {
        const current = row;
        const finding = transport === "builtin" ? row.builtin ?? row.wire : row.wire;
        const name = `${finding.verdict} at ${[row.path, ...(row.args ?? []), ...(row.wireArgs ?? [])].join(" ")}`;
        // The sanitizers cannot tell concurrent steps apart; those of the test see all of them.
        const quiet = { sanitizeOps: false, sanitizeResources: false, sanitizeExit: false };
        await t.step({ name, fn: () => check(lab.url, transport, current, finding), ...quiet });
      }
    };
    await Promise.all(Array.from({ length: MAX_PROCESSES }, work));
    await lab.shutdown();
  });
}

Deno.test("the table has every step of the lab", () => {
  const names = new Set(ROWS.flatMap(({ path }) => parseLabPath(path).map(({ step }) => step.name)));
  for (const { name } of Object.values(LAB_STEPS).flat()) assert(names.has(name), name);
});

Deno.test("the table says why, wherever the built-in transport has another verdict than wire", () => {
  for (const { path, wire, builtin = wire } of ROWS) {
    assertEquals("fooled" in builtin && builtin.fooled !== "", builtin.verdict !== wire.verdict, path);
  }
});
