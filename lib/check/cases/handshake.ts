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
      : `Server answered with ${name} ${values.join(", ") || "missing"}, and not ${wanted}`;
  };
}

const ACCEPT_RULE = "The answer has status 101, and the fields Upgrade, Connection and Sec-WebSocket-Accept.";

const answers: readonly Test[] = [
  {
    word: "status",
    section: "4.2.2",
    title: "Ask for the upgrade as it should be done",
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
    title: "Look at the field Upgrade of the answer",
    rule: ACCEPT_RULE,
    request: {},
    answer: "upgrade",
    profile: "quick",
    problemOf: fieldProblem("upgrade", (values) => values.join().toLowerCase() === "websocket", '"websocket"'),
  },
  {
    word: "connection-field",
    section: "4.2.2",
    title: "Look at the field Connection of the answer",
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
    title: "Compare the accept key with the key that was sent",
    rule: "The accept key is the SHA-1 of the key and a fixed text, in Base64.",
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
    title: "Send the key of the RFC's example",
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
    title: "Offer no subprotocol",
    rule: "A server selects no subprotocol that was not offered.",
    request: { fields: { "Sec-WebSocket-Protocol": [] } },
    answer: "any",
    problemOf: fieldProblem("sec-websocket-protocol", (values) => values.join("") === "", "left out"),
  },
  {
    word: "no-unasked-extension",
    section: "4.2.2",
    title: "Offer no extension",
    rule: "A server selects no extension that was not offered.",
    request: {},
    answer: "upgrade",
    problemOf: fieldProblem("sec-websocket-extensions", (values) => values.join("") === "", "left out"),
  },
  {
    word: "no-content-length",
    id: "9110/8.6/no-content-length",
    title: "Look for a length of content in the answer",
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
    title: "Offer two subprotocols that the server does not know",
    rule: "A server selects one of the subprotocols that were offered, or none.",
    request: { fields: { "Sec-WebSocket-Protocol": ["x-wsproof-one, x-wsproof-two"] } },
    answer: "any",
    profile: "quick",
    problemOf: fieldProblem(
      "sec-websocket-protocol",
      (values) =>
        values.length === 0 ||
        (values.length === 1 && ["x-wsproof-one", "x-wsproof-two", ""].includes(values[0] ?? "")),
      "one of those that were offered",
    ),
  },
  {
    word: "bad-extension",
    section: "9.1",
    title: "Offer an extension whose name is no token",
    rule: "A value of Sec-WebSocket-Extensions that does not fit the grammar fails the handshake.",
    request: { fields: { "Sec-WebSocket-Extensions": ["x wsproof;;=1"] } },
    answer: "refusal",
  },
  {
    word: "unknown-extension",
    section: "9.1",
    title: "Offer an extension that nobody has defined",
    rule: "A server ignores extensions that it does not know.",
    request: { fields: { "Sec-WebSocket-Extensions": ["x-wsproof-unknown; a=1; b"] } },
    answer: "upgrade",
    profile: "quick",
    problemOf: fieldProblem("sec-websocket-extensions", (values) => values.join("") === "", "left out"),
  },
];

/** Requests with the same meaning as the usual one. */
const legal: readonly Test[] = ([
  [
    "upgrade-case",
    'Ask with "Upgrade: WebSocket"',
    "The value of Upgrade has no case.",
    { Upgrade: ["WebSocket"] },
    "quick",
  ],
  ["connection-case", 'Ask with "Connection: upgrade"', "The values of Connection have no case.", {
    Connection: ["upgrade"],
  }, "quick"],
  ["connection-list", 'Ask with "Connection: keep-alive, Upgrade"', "The field Connection is a list.", {
    Connection: ["keep-alive, Upgrade"],
  }, "quick"],
  ["connection-list-first", 'Ask with "Connection: Upgrade, keep-alive"', "The field Connection is a list.", {
    Connection: ["Upgrade, keep-alive"],
  }, "standard"],
  [
    "connection-lines",
    "Ask with two lines of the field Connection",
    "The lines of a field that is a list are one list.",
    {
      Connection: ["keep-alive", "Upgrade"],
    },
    "standard",
  ],
  [
    "blanks-around-values",
    "Ask with blanks around the values of fields",
    "Blanks around the value of a field mean nothing.",
    {
      "Sec-WebSocket-Version": ["  13  "],
      Upgrade: [" \t websocket \t "],
    },
    "standard",
  ],
  [
    "unknown-fields",
    "Ask with 20 fields that nobody has defined",
    "Unknown fields are ignored.",
    Object.fromEntries(
      Array.from({ length: 20 }, (_, index) => [`X-Wsproof-${index}`, [`value ${index}`]]),
    ),
    "standard",
  ],
  [
    "extension-lines",
    "Offer two unknown extensions, in two lines",
    "The field of extensions may come in several lines.",
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
    title: 'Ask with "Upgrade: x-wsproof, websocket"',
    rule: "Whether a list in Upgrade is taken that has more than websocket is up to the server.",
    request: { fields: { Upgrade: ["x-wsproof, websocket"] } },
    answer: "upgrade",
    level: "info",
  },
  {
    word: "single-bytes",
    section: "4.1",
    title: "Ask for the upgrade in single bytes",
    rule: "A head comes over a stream: the borders of writes and segments mean nothing.",
    request: { chopBytes: 1 },
    answer: "upgrade",
  },
  {
    word: "frames-behind-request",
    section: "4.1",
    title: "Send a text message in the same write as the request",
    rule: "What comes behind the head of the request is frames.",
    request: { behind: [text(HELLO)] },
    answer: "upgrade",
    level: "info",
    needs: ["echo", "text"],
  },
  {
    word: "cookies-of-8-kib",
    section: "4.1",
    title: "Ask with cookies of 8 KiB",
    rule: "A head with the cookies that a browser may have is taken.",
    request: { fields: { Cookie: [`a=${"x".repeat(4090)}; b=${"y".repeat(4090)}`] } },
    answer: "upgrade",
    level: "should",
  },
];

const REFUSE_RULE = "A server refuses a request that is not as it should be, with an HTTP status for errors.";

/** Requests that are no opening handshake. */
const refused: readonly Test[] = ([
  ["no-key", "without a key", { "Sec-WebSocket-Key": [] }, "must", "quick"],
  ["empty-key", "with an empty key", { "Sec-WebSocket-Key": [""] }, "must", "standard"],
  ["short-key", "with a key of 15 bytes", { "Sec-WebSocket-Key": [btoa("x".repeat(15))] }, "must", "quick"],
  ["long-key", "with a key of 17 bytes", { "Sec-WebSocket-Key": [btoa("x".repeat(17))] }, "must", "standard"],
  ["bad-key", "with a key that is not Base64", { "Sec-WebSocket-Key": ["?".repeat(22) + "=="] }, "must", "standard"],
  ["two-keys", "with two keys", { "Sec-WebSocket-Key": [KEY, btoa("y".repeat(16))] }, "must", "standard"],
  ["no-version", "without a version", { "Sec-WebSocket-Version": [] }, "must", "standard"],
  ["no-host", "without the field Host", { Host: [] }, "must", "quick"],
  ["two-hosts", "with two fields Host", { Host: ["a.example", "b.example"] }, "must", "standard"],
  [
    "bad-subprotocol",
    "with a subprotocol that is no token",
    { "Sec-WebSocket-Protocol": ["a b"] },
    "should",
    "standard",
  ],
] as const).map(([word, what, fields, level, profile]) => ({
  word,
  title: `Ask ${what}`,
  rule: REFUSE_RULE,
  request: { fields },
  answer: "refusal",
  level,
  profile,
}));

function noUpgrade(answer: HandshakeAnswer): string | undefined {
  const { status } = answer;
  if (status === 101) return "Server answered with 101, and was not asked for this upgrade";
  return status === 0 ? noAnswer(answer) : undefined;
}

/** Requests for something else: any answer but 101 passes. */
const other: readonly Test[] = ([
  ["no-upgrade", "without the field Upgrade", { Upgrade: [] }],
  ["other-upgrade", 'with "Upgrade: x-wsproof"', { Upgrade: ["x-wsproof"] }],
  ["no-connection", "without the field Connection", { Connection: [] }],
  ["other-connection", 'with "Connection: keep-alive"', { Connection: ["keep-alive"] }],
] as const).map(([word, what, fields]) => ({
  word,
  title: `Ask ${what}`,
  rule: "A request is an opening handshake if it has Upgrade: websocket and Connection: Upgrade.",
  request: { fields },
  answer: "any",
  problemOf: noUpgrade,
  profile: word === "no-upgrade" ? "quick" : "standard",
}));

const lines: readonly Test[] = [
  { word: "http-1.0", title: "Ask over HTTP/1.0", rule: REFUSE_RULE, request: { version: "1.0" }, answer: "refusal" },
  {
    word: "post",
    title: "Ask with the method POST",
    rule: REFUSE_RULE,
    request: { method: "POST", fields: { "Content-Length": ["0"] } },
    answer: "refusal",
    profile: "quick",
  },
  {
    word: "method-case",
    title: 'Ask with the method "get"',
    rule: "Methods have case.",
    request: { method: "get" },
    answer: "refusal",
    level: "should",
  },
];

/** Unsupported versions: the refusal names a supported one. */
const versions: readonly Test[] = ["12", "8", "0", "255", "13, 8", "thirteen"].map((version) => ({
  word: `version-${version.replace(", ", "-and-")}`,
  section: "4.4",
  title: `Ask for version ${version}`,
  rule: "A server that does not have a version refuses, and names those that it has in Sec-WebSocket-Version.",
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
  title: "Look at the status of the refusal of a version",
  rule: "The status that fits a version that the server does not have is 426.",
  request: { fields: { "Sec-WebSocket-Version": ["12"] } },
  answer: "refusal",
  level: "info",
  problemOf: ({ status }) => status === 426 ? undefined : `Server answered with status ${status}`,
}];

const usable: Case = make({
  id: "6455/4.2.2/usable",
  group: "handshake",
  title: "Ask for the upgrade, and send a text message",
  rule: "After the answer the connection is open.",
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
