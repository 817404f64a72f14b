/**
 * Cases about the opening handshake (RFC 6455 section 4), for servers.
 *
 * @module
 */

import { type Case, type Handshake, type HandshakeAnswer, noAnswer } from "../case.ts";
import { HELLO, make, NORMAL, plan, reply, send, text } from "./parts.ts";
import { listOf, valuesOf } from "../../protocol/http_lines.ts";

/** Key of RFC 6455 section 1.3. */
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";

type Test =
  & { readonly word: string; readonly title: string; readonly rule: string; readonly section?: string }
  & Partial<Pick<Case, "level" | "profile" | "needs" | "id">>
  & Handshake;

function handshakeCase({ word, title, rule, section = "4.2.1", request, answer, problemOf, ...rest }: Test): Case {
  return make({
    id: `6455/${section}/${word}`,
    group: "handshake",
    title,
    rule,
    holds: "server",
    ...rest,
    plan: () => {
      const handshake: Handshake = { request, answer, ...(problemOf && { problemOf }) };
      if (request.behind) return plan([], [reply("text", HELLO)], NORMAL, { handshake });
      return plan([], [], NORMAL, { handshake });
    },
  });
}

function fieldProblem(name: string, isRight: (values: readonly string[]) => boolean, wanted: string) {
  return ({ head }: HandshakeAnswer) => {
    const values = valuesOf(head, name);
    return isRight(values)
      ? undefined
      : `Server answered with ${name} ${values.join(", ") || "missing"} instead of ${wanted}`;
  };
}

const ACCEPT_RULE = "The answer has status 101 and the fields Upgrade, Connection and Sec-WebSocket-Accept.";

const answers: readonly Test[] = [
  {
    word: "status",
    section: "4.2.2",
    title: "Send a valid request; expect status 101",
    rule: ACCEPT_RULE,
    request: {},
    answer: "upgrade",
    profile: "quick",
    problemOf: ({ head }) =>
      /^HTTP\/1\.1 101( |$)/.test(head.startLine) ? undefined : `First line is ${head.startLine}`,
  },
  {
    word: "upgrade-field",
    section: "4.2.2",
    title: 'Send a valid request; expect "Upgrade: websocket"',
    rule: ACCEPT_RULE,
    request: {},
    answer: "upgrade",
    profile: "quick",
    problemOf: fieldProblem("upgrade", (values) => values.join().toLowerCase() === "websocket", '"websocket"'),
  },
  {
    word: "connection-field",
    section: "4.2.2",
    title: 'Send a valid request; expect "Connection: Upgrade"',
    rule: ACCEPT_RULE,
    request: {},
    answer: "upgrade",
    profile: "quick",
    problemOf: ({ head }) =>
      listOf(head, "connection").some((value) => value.toLowerCase() === "upgrade")
        ? undefined
        : "Server answered without Upgrade in the field Connection",
  },
  {
    word: "accept-key",
    section: "4.2.2",
    title: "Send a valid request; expect the accept key that matches its key",
    rule: "The accept key is the SHA-1 hash of the key and a fixed text, in Base64.",
    request: {},
    answer: "upgrade",
    profile: "quick",
    problemOf: ({ head, acceptKey }) => {
      const values = valuesOf(head, "sec-websocket-accept");
      return values.length === 1 && values[0] === acceptKey
        ? undefined
        : `Server answered with the accept key ${values.join(" and ") || "missing"} instead of ${acceptKey}`;
    },
  },
  {
    word: "accept-key-example",
    section: "1.3",
    title: "Send the key of the RFC's example; expect its accept key",
    rule: "The accept key of the example is s3pPLMBiTxaQ9kYGzzhZRbK+xOo=.",
    request: { fields: { "Sec-WebSocket-Key": [KEY] } },
    answer: "upgrade",
    problemOf: fieldProblem(
      "sec-websocket-accept",
      ([value]) => value === "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
      "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
    ),
  },
  {
    word: "no-unasked-subprotocol",
    section: "4.2.2",
    title: "Offer no subprotocol; expect none selected",
    rule: "A server selects only a subprotocol that the client offered.",
    request: { fields: { "Sec-WebSocket-Protocol": [] } },
    answer: "any",
    problemOf: fieldProblem("sec-websocket-protocol", (values) => values.join("") === "", "none"),
  },
  {
    word: "no-unasked-extension",
    section: "4.2.2",
    title: "Offer no extension; expect none selected",
    rule: "A server selects only extensions that the client offered.",
    request: {},
    answer: "upgrade",
    problemOf: fieldProblem("sec-websocket-extensions", (values) => values.join("") === "", "none"),
  },
  {
    word: "no-content-length",
    id: "9110/8.6/no-content-length",
    title: "Send a valid request; expect an answer without a content length",
    rule: "An answer with status 101 has no Content-Length and no Transfer-Encoding.",
    request: {},
    answer: "upgrade",
    problemOf: ({ head }) => {
      const found = ["content-length", "transfer-encoding"].find((name) => valuesOf(head, name).length > 0);
      return found && `Server answered with the field ${found}`;
    },
  },
  {
    word: "offered-subprotocol",
    section: "4.2.2",
    title: "Offer two unknown subprotocols; expect one of them, or none",
    rule: "A server selects one of the offered subprotocols, or none.",
    request: { fields: { "Sec-WebSocket-Protocol": ["x-wsproof-one, x-wsproof-two"] } },
    answer: "any",
    profile: "quick",
    problemOf: fieldProblem(
      "sec-websocket-protocol",
      (values) =>
        values.length === 0 ||
        (values.length === 1 && ["x-wsproof-one", "x-wsproof-two", ""].includes(values[0] ?? "")),
      "an offered one",
    ),
  },
  {
    word: "bad-extension",
    section: "9.1",
    title: "Offer an extension whose name is not a token; expect a refusal",
    rule: "A Sec-WebSocket-Extensions value that breaks the grammar fails the handshake.",
    request: { fields: { "Sec-WebSocket-Extensions": ["x wsproof;;=1"] } },
    answer: "refusal",
  },
  {
    word: "unknown-extension",
    section: "9.1",
    title: "Offer an undefined extension; expect an upgrade without it",
    rule: "A server ignores unknown extensions.",
    request: { fields: { "Sec-WebSocket-Extensions": ["x-wsproof-unknown; a=1; b"] } },
    answer: "upgrade",
    profile: "quick",
    problemOf: fieldProblem("sec-websocket-extensions", (values) => values.join("") === "", "none"),
  },
];

/** Requests with the same meaning as the usual one. */
const legal: readonly Test[] = ([
  [
    "upgrade-case",
    'Send "Upgrade: WebSocket"; expect an upgrade',
    "The value of Upgrade is case-insensitive.",
    { Upgrade: ["WebSocket"] },
    "quick",
  ],
  [
    "connection-case",
    'Send "Connection: upgrade"; expect an upgrade',
    "The values of Connection are case-insensitive.",
    {
      Connection: ["upgrade"],
    },
    "quick",
  ],
  ["connection-list", 'Send "Connection: keep-alive, Upgrade"; expect an upgrade', "The field Connection is a list.", {
    Connection: ["keep-alive, Upgrade"],
  }, "quick"],
  [
    "connection-list-first",
    'Send "Connection: Upgrade, keep-alive"; expect an upgrade',
    "The field Connection is a list.",
    {
      Connection: ["Upgrade, keep-alive"],
    },
    "standard",
  ],
  [
    "connection-lines",
    "Send two lines of the field Connection; expect an upgrade",
    "Several lines of a list field form one list.",
    {
      Connection: ["keep-alive", "Upgrade"],
    },
    "standard",
  ],
  [
    "blanks-around-values",
    "Send blanks around field values; expect an upgrade",
    "Blanks around a field value have no meaning.",
    {
      "Sec-WebSocket-Version": ["  13  "],
      Upgrade: [" \t websocket \t "],
    },
    "standard",
  ],
  [
    "unknown-fields",
    "Send 20 undefined fields; expect an upgrade",
    "A server ignores unknown fields.",
    Object.fromEntries(
      Array.from({ length: 20 }, (_, index) => [`X-Wsproof-${index}`, [`value ${index}`]]),
    ),
    "standard",
  ],
  [
    "extension-lines",
    "Offer two unknown extensions in two lines; expect an upgrade",
    "The field Sec-WebSocket-Extensions may span several lines.",
    {
      "Sec-WebSocket-Extensions": ["x-wsproof-one", 'x-wsproof-two; a="1"'],
    },
    "standard",
  ],
] as const).map(([word, title, rule, fields, profile]) => ({
  word,
  title,
  rule,
  request: { fields },
  answer: "upgrade",
  profile,
}));

const shapes: readonly Test[] = [
  {
    word: "upgrade-list",
    title: 'Send "Upgrade: x-wsproof, websocket"',
    rule: "A server may accept an Upgrade list with more than websocket in it.",
    request: { fields: { Upgrade: ["x-wsproof, websocket"] } },
    answer: "upgrade",
    level: "info",
  },
  {
    word: "single-bytes",
    section: "4.1",
    title: "Send the request byte by byte; expect an upgrade",
    rule: "TCP is a stream: the boundaries of writes and segments have no meaning.",
    request: { chopBytes: 1 },
    answer: "upgrade",
  },
  {
    word: "frames-behind-request",
    section: "4.1",
    title: "Send a text message in the same write as the request",
    rule: "Everything after the head of the request is frames.",
    request: { behind: [text(HELLO)] },
    answer: "upgrade",
    level: "info",
    needs: ["echo", "text"],
  },
  {
    word: "cookies-of-8-kib",
    section: "4.1",
    title: "Send cookies of 8 KiB; expect an upgrade",
    rule: "A server accepts a head with as many cookies as a browser may send.",
    request: { fields: { Cookie: [`a=${"x".repeat(4090)}; b=${"y".repeat(4090)}`] } },
    answer: "upgrade",
    level: "should",
  },
];

const REFUSE_RULE = "A server refuses an invalid request with an HTTP error status.";

/** Requests that are no opening handshake. */
const refused: readonly Test[] = ([
  ["no-key", "without a key", { "Sec-WebSocket-Key": [] }, "must", "quick"],
  ["empty-key", "with an empty key", { "Sec-WebSocket-Key": [""] }, "must", "standard"],
  ["short-key", "with a key of 15 bytes", { "Sec-WebSocket-Key": [btoa("x".repeat(15))] }, "must", "quick"],
  ["long-key", "with a key of 17 bytes", { "Sec-WebSocket-Key": [btoa("x".repeat(17))] }, "must", "standard"],
  ["bad-key", "with a key that is not Base64", { "Sec-WebSocket-Key": ["?".repeat(22) + "=="] }, "must", "standard"],
  ["two-keys", "with two keys", { "Sec-WebSocket-Key": [KEY, btoa("y".repeat(16))] }, "must", "standard"],
  ["no-version", "without a version", { "Sec-WebSocket-Version": [] }, "must", "standard"],
  ["no-host", "without Host", { Host: [] }, "must", "quick"],
  ["two-hosts", "with two Host fields", { Host: ["a.example", "b.example"] }, "must", "standard"],
  [
    "bad-subprotocol",
    "with a subprotocol that is not a token",
    { "Sec-WebSocket-Protocol": ["a b"] },
    "should",
    "standard",
  ],
] as const).map(([word, what, fields, level, profile]) => ({
  word,
  title: `Send a request ${what}; expect a refusal`,
  rule: REFUSE_RULE,
  request: { fields },
  answer: "refusal",
  level,
  profile,
}));

function noUpgrade(answer: HandshakeAnswer): string | undefined {
  const { status } = answer;
  if (status === 101) return "Server answered with 101, and no upgrade to WebSocket was requested";
  return status === 0 ? noAnswer(answer) : undefined;
}

/** Requests for something else: any answer but 101 passes. */
const other: readonly Test[] = ([
  ["no-upgrade", "without Upgrade", { Upgrade: [] }],
  ["other-upgrade", 'with "Upgrade: x-wsproof"', { Upgrade: ["x-wsproof"] }],
  ["no-connection", "without Connection", { Connection: [] }],
  ["other-connection", 'with "Connection: keep-alive"', { Connection: ["keep-alive"] }],
] as const).map(([word, what, fields]) => ({
  word,
  title: `Send a request ${what}; expect anything but 101`,
  rule: "A request is an opening handshake only with Upgrade: websocket and Connection: Upgrade.",
  request: { fields },
  answer: "any",
  problemOf: noUpgrade,
  profile: word === "no-upgrade" ? "quick" : "standard",
}));

const lines: readonly Test[] = [
  {
    word: "http-1.0",
    title: "Send a request over HTTP/1.0; expect a refusal",
    rule: REFUSE_RULE,
    request: { version: "1.0" },
    answer: "refusal",
  },
  {
    word: "post",
    title: "Send a request with the method POST; expect a refusal",
    rule: REFUSE_RULE,
    request: { method: "POST", fields: { "Content-Length": ["0"] } },
    answer: "refusal",
    profile: "quick",
  },
  {
    word: "method-case",
    title: 'Send a request with the method "get"; expect a refusal',
    rule: "Methods are case-sensitive.",
    request: { method: "get" },
    answer: "refusal",
    level: "should",
  },
];

/** Unsupported versions: the refusal names a supported one. */
const versions: readonly Test[] = ["12", "8", "0", "255", "13, 8", "thirteen"].map((version) => ({
  word: `version-${version.replace(", ", "-and-")}`,
  section: "4.4",
  title: `Request version ${version}; expect a refusal that names version 13`,
  rule: "A server refuses an unsupported version, and names the supported ones in Sec-WebSocket-Version.",
  request: { fields: { "Sec-WebSocket-Version": [version] } },
  answer: "refusal",
  profile: version === "12" ? "quick" : "standard",
  // Draft version 8 has today's frames: a server may support it.
  level: version === "8" ? "info" : /^\d+$/.test(version) ? "must" : "should",
  problemOf: ({ head }) =>
    listOf(head, "sec-websocket-version").includes("13")
      ? undefined
      : "Server refused without Sec-WebSocket-Version: 13",
}));

const statuses: readonly Test[] = [{
  word: "version-426",
  section: "4.2.2",
  title: "Request version 12; compare the status of the refusal with 426",
  rule: "The status for an unsupported version is 426.",
  request: { fields: { "Sec-WebSocket-Version": ["12"] } },
  answer: "refusal",
  level: "info",
  problemOf: ({ status }) => status === 426 ? undefined : `Server answered with status ${status}`,
}];

const usable: Case = make({
  id: "6455/4.2.2/usable",
  group: "handshake",
  title: "Upgrade, and send a text message; expect its echo",
  rule: "After the handshake the connection is open.",
  holds: "server",
  needs: ["echo", "text"],
  profile: "quick",
  plan: () => plan([send(text(HELLO))], [reply("text", HELLO)], NORMAL),
});

/** All cases about the opening handshake. */
export const HANDSHAKE: readonly Case[] = [
  usable,
  ...[...answers, ...legal, ...shapes, ...refused, ...other, ...lines, ...versions, ...statuses].map(handshakeCase),
];
