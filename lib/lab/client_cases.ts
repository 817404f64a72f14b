/**
 * Cases for clients only: handshake answers to accept or refuse, ends of TCP, bombs, reconnects after a drop, and
 * randomness.
 *
 * @module
 */

import { constants, deflateRawSync } from "node:zlib";
import type { AgentTraits, AnswerEdit, ClientCase } from "./client_case.ts";
import { keyProblem, maskProblem } from "./randomness.ts";
import type { Case, Judgement, Plan } from "../check/case.ts";
import { close, filler, HELLO, make, more, NORMAL, ping, plan, reply, send, text } from "../check/cases/parts.ts";
import { closeCodeOf } from "../peer/frame.ts";
import type { Seen } from "../peer/player.ts";
import { OPCODE } from "../protocol/frame.ts";

function caseOf(
  test: Omit<Case, "level" | "holds" | "profile" | "needs"> & Partial<Case>,
  rest: Pick<ClientCase, "answer" | "judgeAgent"> = {},
): ClientCase {
  return { number: test.id, test: make(test), ...rest };
}

const echo = (): Plan => plan([send(text(HELLO))], [reply("text", HELLO)], NORMAL);

/** Deadline for a client to refuse an answer, in milliseconds: 2 s. */
const REFUSE_MS = 2000;

/** A ping shows whether a client treats the connection as open. */
const probe = (): Plan =>
  plan([send(ping("open?")), { do: "settle", ms: REFUSE_MS }], [], { type: "any" }, { judge: judgeRefusal });

/** A client that must refuse the handshake answer sends no frame, and ends TCP. */
function judgeRefusal({ frames, end }: Seen): Judgement {
  const other = frames.find(({ opcode }) => opcode !== OPCODE.close);
  const isOpen = other !== undefined || frames.some(({ payload }) => closeCodeOf(payload) === 1000);
  if (isOpen) {
    const what = other === undefined ? "a close frame with 1000" : `a frame of opcode ${other.opcode}`;
    return { grade: "fail", reason: `Client treated the connection as open: it sent ${what}` };
  }
  if (end === "none") return { grade: "unclean", reason: "Client refused the answer, and left TCP open" };
  if (frames.length > 0) {
    return { grade: "not-strict", reason: "Client sent a close frame on a connection that was never open" };
  }
  return { grade: "pass", reason: "" };
}

const REFUSE_RULE = "A client fails the connection if the answer is not a valid upgrade.";

const refused: readonly ClientCase[] = ([
  ["4.1", "bad-accept", "an accept key that does not match", {
    "Sec-WebSocket-Accept": ["AAAAAAAAAAAAAAAAAAAAAAAAAAA="],
  }],
  ["4.1", "no-accept", "no accept key", { "Sec-WebSocket-Accept": [] }],
  ["4.1", "no-upgrade-field", "no Upgrade field", { "Upgrade": [] }],
  ["4.1", "other-upgrade", "another protocol in Upgrade", { "Upgrade": ["h2c"] }],
  ["4.1", "no-connection-field", "no Connection field", { "Connection": [] }],
  ["4.1", "other-connection", "another word in Connection", { "Connection": ["keep-alive"] }],
  ["4.1", "unasked-protocol", "a subprotocol that was not offered", { "Sec-WebSocket-Protocol": ["x-unasked"] }],
  ["4.1", "unasked-extension", "an extension that was not offered", { "Sec-WebSocket-Extensions": ["x-unasked"] }],
] as const).map(([section, word, what, fields]) =>
  caseOf({
    id: `6455/${section}/${word}`,
    group: "handshake",
    title: `Answer the handshake with ${what}; expect a refusal`,
    rule: REFUSE_RULE,
    profile: "quick",
    plan: probe,
  }, { answer: { fields } })
);

const DEFLATE_RULE =
  "A client fails the connection if permessage-deflate comes with unknown or repeated parameters, or invalid values.";

const misdeflated: readonly ClientCase[] = ([
  ["7.1", "unknown-parameter", "x-unknown=1"],
  ["7.1", "doubled-parameter", "server_no_context_takeover; server_no_context_takeover"],
  ["7.1.1.1", "value-for-a-flag", "server_no_context_takeover=1"],
  ["7.1.2.1", "window-16", "server_max_window_bits=16"],
  ["7.1.2.2", "window-without-bits", "client_max_window_bits"],
] as const).map(([section, word, parameters]) =>
  caseOf({
    id: `7692/${section}/refuses-${word}`,
    group: "deflate",
    title: `Answer the handshake with "permessage-deflate; ${parameters}"; expect a refusal`,
    rule: DEFLATE_RULE,
    plan: probe,
  }, { answer: { fields: { "Sec-WebSocket-Extensions": [`permessage-deflate; ${parameters}`] } } })
);

const statuses: readonly ClientCase[] = ([
  ["status-200", "HTTP/1.1 200 OK", { "Content-Length": ["0"] }, "must"],
  ["status-403", "HTTP/1.1 403 Forbidden", { "Content-Length": ["0"] }, "must"],
  ["http-1.0", "HTTP/1.0 101 Switching Protocols", {}, "should"],
] as const).map(([word, startLine, fields, level]) =>
  caseOf({
    id: `6455/4.1/${word}`,
    group: "handshake",
    title: `Answer the handshake with "${startLine}"; expect a refusal`,
    rule: REFUSE_RULE,
    level,
    plan: probe,
  }, { answer: { startLine, fields } })
);

const taken: readonly ClientCase[] = ([
  ["small-letters", "field names in lower case", { isLowerCase: true }, "must"],
  ["upgrade-case", '"WebSocket" in the field Upgrade', { fields: { "Upgrade": ["WebSocket"] } }, "must"],
  ["connection-case", '"upgrade" in the field Connection', { fields: { "Connection": ["upgrade"] } }, "must"],
  ["connection-list", '"keep-alive, Upgrade" in the field Connection', {
    fields: { "Connection": ["keep-alive, Upgrade"] },
  }, "must"],
  ["single-bytes", "a head sent byte by byte", { chopBytes: 1 }, "must"],
  ["unknown-fields", "40 unknown fields", {
    fields: Object.fromEntries(Array.from({ length: 40 }, (_, index) => [`X-Field-${index}`, ["value"]])),
  }, "must"],
  ["cookies-of-8-kib", "8 KiB of cookies", { fields: { "Set-Cookie": [`a=${"x".repeat(8190)}`] } }, "should"],
  ["no-reason", "no reason phrase after the status", { startLine: "HTTP/1.1 101 " }, "should"],
] as const satisfies readonly (readonly [string, string, AnswerEdit, Case["level"]])[]).map((
  [word, what, answer, level],
) =>
  caseOf({
    id: `6455/4.2.2/takes-${word}`,
    group: "handshake",
    title: `Answer the handshake with ${what}; expect an echo`,
    rule: "Field names and the words of Upgrade and Connection are case-insensitive; a client ignores other fields.",
    level,
    plan: echo,
  }, { answer })
);

const behind = caseOf({
  id: "6455/4.2.2/frame-behind-answer",
  group: "handshake",
  title: "Send a text message in the same write as the answer to the handshake; expect its echo",
  rule: "A server may send right after its answer.",
  profile: "quick",
  plan: () => plan([], [reply("text", HELLO)], NORMAL),
}, { answer: { behind: [text(HELLO)] } });

const REQUEST_RULE = "A client requests with GET, HTTP/1.1, Host, Upgrade, Connection, a 16-byte key and version 13.";

const request = caseOf({
  id: "6455/4.1/request",
  group: "handshake",
  title: "Read the request of the handshake",
  rule: REQUEST_RULE,
  profile: "quick",
  plan: echo,
}, {
  judgeAgent: ({ requestProblem }) =>
    requestProblem === undefined ? undefined : fail(`Request is wrong: ${requestProblem}`),
});

const HALF = text(filler("text", 100));

function nothingDelivered({ frames }: Seen): Judgement | undefined {
  return frames.some(({ opcode }) => opcode < OPCODE.close)
    ? fail("Client answered a message that never ended")
    : undefined;
}

const ends: readonly ClientCase[] = [
  caseOf({
    id: "6455/7.1.5/end-inside-frame",
    group: "close",
    title: "End TCP inside a frame; expect no reply",
    rule: "A client never acts on a message that has not ended.",
    plan: () =>
      plan([{ do: "send-part", frame: HALF, from: 0, to: 40 }, { do: "half-close" }], [], { type: "any" }, {
        judge: nothingDelivered,
      }),
  }),
  caseOf({
    id: "6455/7.1.5/end-inside-message",
    group: "close",
    title: "End TCP between two fragments; expect no reply",
    rule: "A client never acts on a message that has not ended.",
    plan: () =>
      plan([send(text(HELLO, { final: false })), { do: "half-close" }], [], { type: "any" }, {
        judge: nothingDelivered,
      }),
  }),
  caseOf({
    id: "6455/7.1.1/late-end",
    group: "close",
    title: "Close, and leave TCP open for half a second after the answer",
    rule: "A client answers a close frame, and the server ends TCP.",
    plan: () =>
      plan([send(close()), { do: "settle", ms: REFUSE_MS }, { do: "pause", ms: 500 }], [], NORMAL, {
        isAboutClose: true,
      }),
  }),
  caseOf({
    id: "6455/7.1.1/late-close",
    group: "close",
    title: "Stay silent for 1.5 s, then send a ping and close; expect a pong",
    rule: "Silence does not end a connection.",
    level: "should",
    plan: () =>
      plan([{ do: "pause", ms: 1500 }, send(ping("late")), { do: "await", pongs: 1 }], [reply("pong", "late")], NORMAL),
  }),
];

const BOMB_BYTES = 16 * 1024 ** 2;

function bomb(): Uint8Array<ArrayBuffer> {
  const packed = deflateRawSync(new Uint8Array(BOMB_BYTES).fill(0x61), { finishFlush: constants.Z_SYNC_FLUSH });
  return new Uint8Array(packed).slice(0, -4);
}

const bombs: readonly ClientCase[] = [
  caseOf({
    id: "6455/10.4/claimed-length",
    group: "stress",
    title: "Announce a message of 2^62 bytes, send 1 KiB of it, and end TCP; expect no reply",
    rule: "An announced length takes no memory; a client may refuse it with 1009.",
    plan: () => {
      const frame = { opcode: OPCODE.binary, payload: filler("binary", 1024), claimedLength: 1n << 62n };
      return plan([{ do: "send", frames: [frame] }, { do: "settle", ms: 250 }, { do: "half-close" }], [], {
        type: "any",
      }, { judge: nothingDelivered });
    },
  }),
  caseOf({
    id: "6455/5.5.3/ping-flood",
    group: "stress",
    title: "Send 1,000 pings and a text message, together; expect the last pong and the echo",
    rule: "A client answers at least the last of the pings that arrive together; it may limit them.",
    level: "should",
    plan: () => {
      const pings = Array.from({ length: 1000 }, (_, index) => `ping ${index}`);
      return plan(
        [{ do: "send", frames: [...pings.map((word) => ping(word)), text(HELLO)] }],
        [...pings.map((word) => reply("pong", word)), reply("text", HELLO)],
        NORMAL,
      );
    },
  }),
  caseOf({
    id: "6455/5.4/empty-flood",
    group: "stress",
    title: "Send a text message in 10,000 empty fragments; expect its echo",
    rule: "Empty fragments are legal, and take no memory; a client may refuse them with 1008 or 1009.",
    plan: () => {
      const fragments = Array.from({ length: 9998 }, () => more("", { final: false }));
      return plan(
        [{ do: "send", frames: [text("", { final: false }), ...fragments, more(HELLO)] }],
        [reply("text", HELLO)],
        NORMAL,
        { mayRefuse: true },
      );
    },
  }),
  caseOf({
    id: "7692/8/bomb",
    group: "stress",
    title: "Send 16 MiB of one letter, compressed to 16 KiB; expect its echo, or 1009",
    rule: "A client limits what it inflates: it accepts the message, or refuses it with 1009.",
    needs: ["deflate"],
    plan: () =>
      plan(
        [send(text(bomb(), { reserved: 4 }))],
        [reply("text", new Uint8Array(BOMB_BYTES).fill(0x61))],
        NORMAL,
        { deflate: {}, mayRefuse: true },
      ),
  }),
];

/** A reconnect within this time has no backoff, in milliseconds: 100. */
const SOON_MS = 100;

/** Allowed reconnects without backoff: 3 are one too many. */
const MAX_SOON = 2;

function judgeReturns({ visits }: AgentTraits): Judgement | undefined {
  const pauses = visits.slice(1).map((at, index) => at - (visits[index] ?? 0));
  const soon = pauses.filter((pause) => pause < SOON_MS);
  if (soon.length <= MAX_SOON) return undefined;
  const shown = soon.slice(-5).map((pause) => pause.toFixed(0)).join(", ");
  return fail(`Client reconnected ${soon.length} times within ${SOON_MS} ms: after ${shown} ms`);
}

const RETURN_RULE = "A client that reconnects after a failed connection waits first, longer each time.";

const returns: readonly ClientCase[] = [
  caseOf({
    id: "6455/7.2.3/refused",
    group: "close",
    title: "Refuse the handshake with 503, as often as the client reconnects",
    rule: RETURN_RULE,
    level: "should",
    plan: () => plan([], [], { type: "any" }),
  }, {
    answer: {
      startLine: "HTTP/1.1 503 Service Unavailable",
      fields: {
        "Upgrade": [],
        "Connection": ["close"],
        "Sec-WebSocket-Accept": [],
        "Sec-WebSocket-Protocol": [],
        "Retry-After": ["5"],
        "Content-Length": ["0"],
      },
      isRefusal: true,
    },
    judgeAgent: judgeReturns,
  }),
  caseOf({
    id: "6455/7.2.3/dropped",
    group: "close",
    title: "End TCP after the handshake, as often as the client reconnects",
    rule: RETURN_RULE,
    level: "should",
    plan: () => plan([{ do: "half-close" }], [], { type: "any" }),
  }, { judgeAgent: judgeReturns }),
];

const random: readonly ClientCase[] = [
  caseOf({
    id: "6455/5.3/random-masks",
    group: "framing",
    title: "Exchange 32 text messages, and compare the masking keys",
    rule: "Each frame has a new, unpredictable masking key.",
    profile: "quick",
    plan: () =>
      plan(
        [{ do: "take-turns", frame: text(HELLO), count: 32 }],
        Array.from({ length: 32 }, () => reply("text", HELLO)),
        NORMAL,
      ),
  }, {
    judgeAgent: ({ ownMasks, masks }) => {
      const problem = maskProblem(ownMasks, masks);
      return problem === undefined ? undefined : fail(`Masks are not random: ${problem}`);
    },
  }),
  caseOf({
    id: "6455/4.1/random-keys",
    group: "handshake",
    title: "Compare the keys of all handshakes so far",
    rule: "Each handshake has a new, unpredictable key.",
    profile: "quick",
    plan: echo,
  }, {
    judgeAgent: ({ keys }) => {
      const problem = keyProblem(keys);
      return problem === undefined ? undefined : fail(`Keys are not random: ${problem}`);
    },
  }),
];

function fail(reason: string): Judgement {
  return { grade: "fail", reason };
}

/** Cases for clients only, in the order of a run: randomness comes last. */
export const CLIENT_CASES: readonly ClientCase[] = [
  request,
  ...refused,
  ...misdeflated,
  ...statuses,
  ...taken,
  behind,
  ...ends,
  ...bombs,
  ...returns,
  ...random,
];
