/** The faults of mutant servers, each with exactly the cases that must catch it. */

import type { Fault } from "./mutant_server.ts";
import type { RawFrame } from "../../lib/peer/frame.ts";
import { isSendableCloseCode } from "../../lib/protocol/close.ts";
import { valuesOf } from "../../lib/protocol/http_lines.ts";
import { concatBytes } from "../../lib/protocol/message.ts";

/** A fault with the cases that catch it. */
export interface Mutation extends Fault {
  /** The server's fault, in a few words. */
  readonly name: string;
  /** The cases that catch it. */
  readonly caughtBy: RegExp;
  /** The cases to run; all by default. */
  readonly cases?: RegExp;
  /** Whether the server is wrongly silent, so that cases wait. */
  readonly isSilent?: true;
}

type Fields = [string, string][];

type Answer = NonNullable<Fault["answer"]>;

function withField(name: string, value: string | undefined): Answer {
  return (line, fields) => {
    const others = fields.filter(([field]) => field.toLowerCase() !== name.toLowerCase());
    return [line, value === undefined ? others : [...others, [name, value]]];
  };
}

const isData = ({ opcode }: RawFrame) => opcode <= 2;

function onData(change: (frame: RawFrame) => RawFrame[]): (frame: RawFrame) => RawFrame[] {
  return (frame) => isData(frame) ? change(frame) : [frame];
}

const codeOf = (payload: Uint8Array) => (payload[0] ?? 0) * 256 + (payload[1] ?? 0);

/** The codes of a case, each ignored or refused on its own. */
const REFUSED_CODES = [1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
const TAKEN_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999];

/** Cases that expect an echo. */
const ECHO =
  /length-\d+-(text|binary)$|pieces-of|header-byte|two-fragments|ping-between|pings-and-pause|fragments-of-1300|empty-last|empty-fragments|messages-in-one-write|5\.6\/|text-(whole|cut)|greek-cut|8\.1\/(valid|first|last|special|noncharacter)-\d|prefix-(2|5|7|9|11)$|border-[1-4]$|7\.1\.2\/message-then-close$|rsv-[234]$|opcode-(5|6|7|13|14|15)$|stray-after-message|4\.2\.2\/usable|\d+mib|\d+kib-(text|binary)|1000-of/;

/** Echo cases with a message that is not empty. */
const NOT_EMPTY = new RegExp(`^(?!.*(length-0-|empty-text|1000-of-0-)).*(${ECHO.source})`);

/** Cases with invalid UTF-8. */
const NOT_UTF8 =
  /8\.1\/(surrogate|fail-fast|first-beyond|last-beyond|continuation|lonely|cut|impossible|overlong|border-5)|prefix-(1|3|4|6|8|10)$|close-frame-1007/;

/** Cases that require a failed connection. */
const FAILS =
  /5\.1\/mask|5\.2\/(rsv|opcode|length-(not|sign))|5\.5\/p[io]ng|5\.4\/(fragmented|ping-without|stray|restart)|5\.5\.1\/(one-byte|reason-(124|bad|cut))|bad-code|close-frame-100/;

/** Cases whose close frame is answered. */
const ANSWERED = /5\.5\.1\/(code|reason|empty)$|7\.4\/code-1000|pong-to-text/;

/** Matches the names of several cases. */
function only(...parts: string[]): RegExp {
  return new RegExp(`/(${parts.join("|")})$`);
}

/** All mutations. */
export const MUTATIONS: readonly Mutation[] = [
  {
    name: "answers over HTTP/1.0",
    caughtBy: only("status"),
    answer: (_, fields) => ["HTTP/1.0 101 Switching", fields],
  },
  { name: "answers with another Upgrade", caughtBy: only("upgrade-field"), answer: withField("Upgrade", "websockets") },
  {
    name: "answers without Connection",
    caughtBy: only("connection-field"),
    answer: withField("Connection", undefined),
  },
  {
    name: "answers with a wrong accept key",
    caughtBy: only("accept-key", "accept-key-example"),
    answer: withField("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOp="),
  },
  {
    name: "has a wrong accept key for the example",
    caughtBy: only("accept-key-example"),
    answer: (line, fields, request) =>
      valuesOf(request, "sec-websocket-key")[0] === "dGhlIHNhbXBsZSBub25jZQ=="
        ? [line, fields.map(([name, value]) => [name, name.endsWith("Accept") ? "x" : value])]
        : [line, fields],
  },
  {
    name: "selects a subprotocol that was not offered",
    caughtBy: only("no-unasked-subprotocol", "offered-subprotocol", "bad-subprotocol"),
    ignores: ["token-protocol"],
    answer: withField("Sec-WebSocket-Protocol", "unasked"),
  },
  {
    name: "selects a subprotocol unasked",
    caughtBy: only("no-unasked-subprotocol"),
    answer: (
      line,
      fields,
      request,
    ) => [
      line,
      valuesOf(request, "sec-websocket-protocol").length > 0 ? fields : [...fields, ["Sec-WebSocket-Protocol", "x"]],
    ],
  },
  {
    name: "selects two subprotocols",
    caughtBy: only("offered-subprotocol"),
    answer: (line, fields, request) => {
      const [offer] = valuesOf(request, "sec-websocket-protocol");
      return [line, offer === undefined ? fields : [...fields, ["Sec-WebSocket-Protocol", offer]]];
    },
  },
  {
    name: "selects an extension that was not offered",
    caughtBy: only("no-unasked-extension", "unknown-extension"),
    answer: withField("Sec-WebSocket-Extensions", "x-unasked"),
  },
  {
    name: "selects every extension that is offered",
    caughtBy: only("unknown-extension"),
    answer: (line, fields, request) => {
      const offers = valuesOf(request, "sec-websocket-extensions").filter((offer) => offer.includes("unknown"));
      return [line, [...fields, ...offers.map((offer): Fields[number] => ["Sec-WebSocket-Extensions", offer])]];
    },
  },
  {
    name: "sends a Content-Length with the 101",
    caughtBy: only("no-content-length"),
    answer: withField("Content-Length", "0"),
  },
  { name: "compares Upgrade case-sensitively", caughtBy: only("upgrade-case"), ignores: ["upgrade-case"] },
  { name: "compares Connection case-sensitively", caughtBy: only("connection-case"), ignores: ["connection-case"] },
  { name: "accepts no blanks around values", caughtBy: only("blanks-around-values"), ignores: ["blanks"] },
  { name: "accepts only a head in one segment", caughtBy: only("single-bytes"), ignores: ["head-pieces"] },
  { name: "answers pongs", caughtBy: /unasked-pong/, ignores: ["silent-pong"] },
  { name: "answers a second close frame", caughtBy: only("two-closes"), ignores: ["one-close"] },
  {
    name: "answers pings after a close frame",
    caughtBy: /ping-behind-close|5\.2\/rsv-[234]$|opcode-(5|6|7|13|14|15)$/,
    ignores: ["no-pong-after-close"],
  },
  {
    name: "accepts no close frame inside a message",
    caughtBy: only("close-between-fragments"),
    ignores: ["close-inside"],
  },
  { name: "accepts no list in Connection", caughtBy: /connection-(list|list-first|lines)$/, ignores: ["keep-alive"] },
  { name: "accepts at most twelve fields", caughtBy: only("unknown-fields"), ignores: ["any-field"] },
  { name: "accepts no long cookie", caughtBy: only("cookies-of-8-kib"), ignores: ["long-cookie"] },
  {
    name: "refuses offers of extensions",
    caughtBy: only("unknown-extension", "extension-lines"),
    ignores: ["extensions"],
  },
  { name: "needs no key", caughtBy: only("no-key"), ignores: ["no-key"] },
  { name: "accepts two keys", caughtBy: only("two-keys"), ignores: ["two-keys"] },
  { name: "accepts any key", caughtBy: only("empty-key", "short-key", "long-key", "bad-key"), ignores: ["key-form"] },
  { name: "needs no version", caughtBy: only("no-version"), ignores: ["no-version"] },
  { name: "accepts any version", caughtBy: /4\.4\/version-(?!8$)/, ignores: ["version"] },
  { name: "needs no Host", caughtBy: only("no-host"), ignores: ["no-host"] },
  { name: "accepts two Hosts", caughtBy: only("two-hosts"), ignores: ["two-hosts"] },
  { name: "accepts a subprotocol that is not a token", caughtBy: only("bad-subprotocol"), ignores: ["token-protocol"] },
  { name: "accepts an extension that is not a token", caughtBy: only("bad-extension"), ignores: ["token-extension"] },
  { name: "accepts HTTP/1.0", caughtBy: only("http-1\\.0"), ignores: ["http-version"] },
  { name: "accepts any method", caughtBy: only("post", "method-case"), ignores: ["method"] },
  { name: "compares the method case-insensitively", caughtBy: only("method-case"), ignores: ["method-case"] },
  { name: "needs no Upgrade", caughtBy: only("no-upgrade", "other-upgrade"), ignores: ["upgrade"] },
  { name: "needs no Connection", caughtBy: only("no-connection", "other-connection"), ignores: ["connection"] },
  {
    name: "refuses without its version",
    caughtBy: /4\.4\/version-(?!8$)/,
    refusal: (status) => [status, []],
  },
  {
    name: "refuses with 200",
    caughtBy:
      /4\.2\.1\/(no-key|empty-key|short-key|long-key|bad-key|two-keys|no-version|no-host|two-hosts|bad-.*|http-1\.0|post|method-case)$|9\.1\/bad-extension|4\.4\/version-(?!8$)/,
    refusal: () => [200, [["Sec-WebSocket-Version", "13"]]],
  },
  {
    name: "refuses by ending TCP",
    caughtBy:
      /4\.2\.1\/(no-key|empty-key|short-key|long-key|bad-key|two-keys|no-version|no-host|two-hosts|bad-.*|http-1\.0|post|method-case|no-upgrade|other-upgrade|no-connection|other-connection)$|9\.1\/bad-extension|4\.4\/version-(?!8$)/,
    refusal: () => "drop",
  },
  { name: "ignores reserved bits", caughtBy: /5\.2\/rsv-/, ignores: ["rsv"] },
  { name: "ignores unknown opcodes", caughtBy: /5\.2\/opcode-|close-frame-1002/, ignores: ["opcode"] },
  { name: "accepts frames without a mask", caughtBy: /5\.1\/mask-/, ignores: ["mask"] },
  { name: "accepts long lengths", caughtBy: /length-not-minimal/, ignores: ["minimal"] },
  {
    name: "waits for 2^63 bytes",
    caughtBy: only("length-sign-bit"),
    cases: /5\.2\/length-/,
    isSilent: true,
    ignores: ["sign-bit"],
  },
  { name: "accepts long control frames", caughtBy: /5\.5\/p[io]ng-\d+$|reason-124/, ignores: ["control-length"] },
  {
    name: "accepts control frames without FIN",
    caughtBy: only("ping-without-fin", "fragmented-ping-inside", "fragmented-ping"),
    ignores: ["control-fin"],
  },
  { name: "accepts stray continuations", caughtBy: /5\.4\/stray-/, ignores: ["stray"] },
  { name: "accepts a message inside another", caughtBy: /5\.4\/restart/, ignores: ["restart"] },
  {
    name: "answers no ping",
    caughtBy: /pong-to|ten-pings|unasked-pong-then-ping|ping-between|pings-and-pause|ping-before-close/,
    cases: /5\.[45]/,
    isSilent: true,
    ignores: ["ping"],
  },
  {
    name: "answers pings with empty pongs",
    caughtBy: /pong-to-(?!empty)|ten-pings|unasked-pong-then-ping|ping-between|pings-and-pause|ping-before-close/,
    frame: (frame) => frame.opcode === 10 ? [{ opcode: 10, payload: new Uint8Array(0) }] : [frame],
  },
  {
    name: "answers pings after the message",
    caughtBy: /ping-between|pings-and-pause/,
    cases: /5\.4/,
    isSilent: true,
    latePongs: true,
  },
  { name: "does not check UTF-8", caughtBy: NOT_UTF8, ignores: ["utf8"] },
  { name: "checks UTF-8 at the end of a message", caughtBy: /8\.1\/fail-fast/, ignores: ["utf8-fast"] },
  { name: "accepts half a close code", caughtBy: only("one-byte"), ignores: ["close-byte"] },
  { name: "does not check a close reason", caughtBy: only("reason-bad-utf8", "reason-cut"), ignores: ["close-utf8"] },
  { name: "answers no close frame", caughtBy: /./, cases: ANSWERED, closeAnswer: () => undefined },
  {
    name: "answers every close frame with 1001",
    caughtBy: /code$/,
    cases: only("code", "code-1001"),
    closeAnswer: () => Uint8Array.of(0x03, 0xe9),
  },
  {
    name: "answers 1000 with an empty close frame",
    caughtBy: only("code", "reason", "reason-123", "code-1000"),
    cases: /5\.5\.1\/(code|reason|empty)|7\.4\/code/,
    closeAnswer: (payload) => codeOf(payload) === 1000 ? new Uint8Array(0) : payload.slice(0, 2),
  },
  { name: "leaves TCP open", caughtBy: /./, cases: ANSWERED, isSilent: true, ignores: ["tcp-end"] },
  {
    name: "never ends TCP after the client has",
    caughtBy: only("end-without-close"),
    cases: only("end-without-close"),
    isSilent: true,
    ignores: ["their-end"],
  },
  {
    name: "continues after a close frame",
    caughtBy: /text-behind-close|stray-(final|open|after)/,
    // With single bytes, TCP may end before the message.
    cases: /^(?!.*-bytes$)/,
    ignores: ["silence-after-close"],
  },
  {
    name: "fails without a close frame",
    caughtBy: only("close-frame-1002", "close-frame-1007"),
    failureCode: () => undefined,
  },
  { name: "fails with 1011", caughtBy: new RegExp(`${FAILS.source}|${NOT_UTF8.source}`), failureCode: () => 1011 },
  {
    name: "fails text with 1002",
    caughtBy: NOT_UTF8,
    failureCode: () => 1002,
  },
  ...REFUSED_CODES.map((code): Mutation => ({
    name: `mistakes ${code} for a code that must not be sent`,
    caughtBy: only(`code-${code}`),
    isCode: (given) => given !== code && isSendableCloseCode(given),
    codeFailure: code === 1003 ? 1008 : 1003,
  })),
  ...TAKEN_CODES.map((code): Mutation => ({
    name: `mistakes ${code} for a code that may be sent`,
    caughtBy: only(`bad-code-${code}`),
    isCode: (given) => given === code || isSendableCloseCode(given),
    closeAnswer: () => Uint8Array.of(0x03, 0xe8),
  })),
  { name: "swaps text and binary", caughtBy: ECHO, frame: onData((frame) => [{ ...frame, opcode: 3 - frame.opcode }]) },
  {
    name: "changes a bit of the last byte",
    caughtBy: NOT_EMPTY,
    frame: onData((frame) => {
      const payload = frame.payload.slice();
      const last = payload.byteLength - 1;
      if (last >= 0) payload[last] = (payload[last] ?? 0) ^ 1;
      return [{ ...frame, payload }];
    }),
  },
  { name: "echoes twice", caughtBy: ECHO, frame: onData((frame) => [frame, frame]) },
  { name: "echoes nothing", caughtBy: ECHO, cases: /5\.[24]/, isSilent: true, frame: onData(() => []) },
  { name: "masks its echoes", caughtBy: ECHO, frame: onData((frame) => [{ ...frame, isMasked: true }]) },
  {
    name: "adds a byte",
    caughtBy: ECHO,
    frame: onData((
      frame,
    ) => [{ ...frame, payload: concatBytes([frame.payload, Uint8Array.of(33)], frame.payload.byteLength + 1) }]),
  },
  {
    name: "swallows empty messages",
    caughtBy: /length-0|empty-text/,
    cases: /length-|empty-text/,
    isSilent: true,
    frame: onData((frame) => frame.payload.byteLength === 0 ? [] : [frame]),
  },
  { name: "has a limit of 100,000 bytes", caughtBy: /mib|256kib/, maxBytes: 100_000 },
];
