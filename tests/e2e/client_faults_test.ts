/** Faults of a peer after the upgrade, and the client's report on each: a verdict, a stage, a problem and a hint. */

import { BINARY, CLOSE, TEXT } from "../support/raw_peer.ts";
import { type Case, closing, replying, testCases } from "../support/faults.ts";

/** Only for the stage that must time out; on a busy machine others may take longer. */
const SHORT_REPLY = ["--reply-timeout", "0.4"];
const SHORT_CLOSE = ["--close-timeout", "0.4"];
const thousand = "x".repeat(1000);

const CASES: readonly Case[] = [
  // Proven.
  { does: "echoes and confirms the close", script: closing((s) => s.closeFrame(1000)), verdict: "proven" },
  {
    does: "greets first, with --skip",
    args: ["--skip", "1"],
    verdict: "proven",
    script: async (socket) => {
      await socket.upgrade();
      await socket.frame(TEXT, "welcome");
      await socket.echoOne();
      await socket.answerClose();
    },
  },
  {
    does: "answers with the expected text",
    args: ["--reply", "pong", "-m", "ping"],
    script: replying(TEXT, "pong"),
    verdict: "proven",
  },
  {
    does: "answers with text that matches",
    args: ["--reply-match", "^p.ng$"],
    script: replying(TEXT, "pong"),
    verdict: "proven",
  },
  {
    does: "answers with something, with --reply-any",
    args: ["--reply-any"],
    script: replying(BINARY, "?"),
    verdict: "proven",
  },
  {
    does: "stays silent, with --reply-none",
    args: ["--reply-none"],
    verdict: "proven",
    script: async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await socket.answerClose();
    },
  },
  {
    does: "begins the close itself, with the code that is expected",
    args: ["--expect-close", "4001"],
    verdict: "proven",
    script: async (socket) => {
      await socket.upgrade();
      await socket.echoOne();
      await socket.closeFrame(4001, "enough");
      await socket.untilGone();
    },
  },
  {
    does: "answers the close with the other code that is expected",
    args: ["--expect-close", "1001"],
    script: closing((s) => s.closeFrame(1001)),
    verdict: "proven",
  },
  {
    does: "answers with the reason that is expected",
    args: ["--close-code", "4000", "--close-reason", "bye", "--expect-reason", "bye"],
    script: closing((s) => s.closeFrame(4000, "bye")),
    verdict: "proven",
  },
  {
    does: "selects a subprotocol that was offered",
    args: ["-p", "soap", "-p", "chat"],
    verdict: "proven",
    script: async (socket) => {
      await socket.upgrade("Sec-WebSocket-Protocol: chat");
      await socket.echoOne();
      await socket.answerClose();
    },
  },

  // No reply.
  {
    does: "never replies",
    script: async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await socket.answerClose();
    },
    args: SHORT_REPLY,
    verdict: "no-reply",
    stage: "receive",
    problem: /No complete message within 0.4 s/,
  },
  {
    does: "never finishes its reply",
    script: async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await socket.frame(TEXT, "Hello", 0);
      await socket.untilGone();
    },
    args: [...SHORT_REPLY, ...SHORT_CLOSE],
    verdict: "no-reply",
    stage: "receive",
  },
  {
    does: "stops reading",
    script: async (socket) => {
      await socket.upgrade();
      await socket.untilStopped();
    },
    args: [...SHORT_REPLY, ...SHORT_CLOSE, "--size", "32MiB", "--split", "1MiB"],
    verdict: "no-reply",
  },

  // Wrong reply.
  {
    does: "changes a byte",
    script: replying(TEXT, "Hello World"),
    verdict: "wrong-reply",
    stage: "verify",
    problem: /at byte 6: "World" instead of "world"/,
  },
  {
    does: "turns text into binary",
    script: replying(BINARY, "Hello world"),
    verdict: "wrong-reply",
    stage: "verify",
    problem: /binary, 11 bytes, instead of text, 11 bytes/,
    hint: /came back as binary/,
  },
  {
    does: "adds a line end",
    script: replying(TEXT, "Hello world\n"),
    verdict: "wrong-reply",
    stage: "verify",
    problem: /12 bytes, instead of text, 11 bytes/,
    hint: /added a line end/,
  },
  {
    does: "cuts at a power of two",
    args: ["-m", thousand],
    script: replying(TEXT, thousand.slice(0, 512)),
    verdict: "wrong-reply",
    stage: "verify",
    problem: /512 bytes, instead of text, 1000 bytes/,
    hint: /cut at 512 bytes, a power of two/,
  },
  {
    does: "sends an extra message first",
    script: replying(TEXT, "welcome", "Hello world"),
    verdict: "wrong-reply",
    stage: "verify",
    hint: /use --skip 1/,
  },
  {
    does: "replies twice",
    script: replying(TEXT, "Hello world", "Hello world"),
    verdict: "wrong-reply",
    stage: "verify",
    problem: /came unasked/,
    hint: /came twice/,
  },
  {
    does: "wraps the message",
    script: replying(TEXT, "You said: Hello world"),
    verdict: "wrong-reply",
    stage: "verify",
    hint: /--reply-match/,
  },
  {
    does: "answers with other text than expected",
    args: ["--reply", "pong"],
    script: replying(TEXT, "Hello world"),
    verdict: "wrong-reply",
    stage: "verify",
  },
  {
    does: "answers with text that does not match",
    args: ["--reply-match", "^p.ng$"],
    script: replying(TEXT, "no\u001b[31m"),
    verdict: "wrong-reply",
    stage: "verify",
    problem: /"no\\u001b\[31m", which does not match/,
  },
  {
    does: "speaks where it should be silent",
    args: ["--reply-none"],
    script: replying(TEXT, "hi"),
    verdict: "wrong-reply",
    stage: "verify",
    problem: /came unasked/,
  },
  {
    does: "sends more than --max-message",
    args: ["--max-message", "11"],
    script: replying(TEXT, "Hello world!"),
    verdict: "wrong-reply",
    problem: /longer than the limit of 11 bytes/,
  },
  {
    does: "announces a frame of 128 MiB, which is legal",
    script: async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await socket.write(Uint8Array.of(0x82, 127, 0, 0, 0, 0, 8, 0, 0, 0));
      await socket.untilGone();
    },
    verdict: "wrong-reply",
    problem: /longer than (the limit of )?67108863 bytes/,
    hint: /--max-message/,
  },
  {
    does: "closes with 1000 instead of a reply",
    script: async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await socket.closeFrame(1000);
      await socket.readFrame();
    },
    verdict: "connection-lost",
    problem: /closed with 1000/,
    hint: /before it replied.*--reply-none/,
  },

  // Connection lost.
  {
    does: "drops the connection before the answer",
    script: async (socket) => void await socket.readHead(),
    verdict: "connection-lost",
    stage: "upgrade",
    problem: /before the handshake was answered/,
  },
  {
    does: "closes with 1001 before the reply",
    script: async (socket) => {
      await socket.upgrade();
      await socket.closeFrame(1001, "restart\nnow");
      await socket.untilGone();
    },
    verdict: "connection-lost",
    stage: "receive",
    problem: /Peer closed with 1001 \(going away\), reason "restart\\nnow"/,
  },
  {
    does: "closes with an empty frame before the reply",
    script: async (socket) => {
      await socket.upgrade();
      await socket.frame(CLOSE);
      await socket.untilGone();
    },
    verdict: "connection-lost",
    stage: "receive",
    problem: /1005 \(no status received\)/,
  },
  {
    does: "finds the message too big",
    script: async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await socket.closeFrame(1009);
      await socket.untilGone();
    },
    verdict: "connection-lost",
    stage: "receive",
    problem: /1009 \(message too big\)/,
    hint: /--split/,
  },
  {
    does: "drops the connection before the reply",
    script: async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
    },
    verdict: "connection-lost",
    stage: "receive",
    problem: /without a close frame \(Unexpected EOF\)/,
  },
  {
    does: "sets a reserved bit",
    script: async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await socket.frame(TEXT, "Hello world", 0xc0);
      await socket.untilGone();
    },
    verdict: "connection-lost",
    stage: "receive",
    problem: /Peer broke the protocol \(Reserved bits are not zero\)/,
  },
  {
    does: "sends text that is not UTF-8",
    script: async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await socket.frame(TEXT, Uint8Array.of(0xff));
      await socket.untilGone();
    },
    verdict: "connection-lost",
    stage: "receive",
    problem: /Peer broke the protocol \(Invalid UTF-8\)/,
  },

  // Close not confirmed.
  {
    does: "never answers the close",
    script: closing((socket) => socket.untilGone()),
    args: SHORT_CLOSE,
    verdict: "close-not-confirmed",
    stage: "close",
    problem: /did not answer the close frame in time/,
  },
  {
    does: "drops the connection instead of answering the close",
    script: closing(async () => {}),
    verdict: "close-not-confirmed",
    stage: "close",
    problem: /empty or invalid close frame, or with none/,
    hint: /cannot tell/,
  },
  {
    does: "answers the close with an empty frame",
    script: closing((socket) => socket.frame(CLOSE)),
    verdict: "close-not-confirmed",
    stage: "close",
    problem: /empty or invalid close frame, or with none/,
  },
  {
    does: "answers the close with another code",
    script: closing((socket) => socket.closeFrame(1011, "oops")),
    verdict: "close-not-confirmed",
    stage: "close",
    problem: /1011 \(internal error\), reason "oops", instead of 1000/,
  },
  {
    does: "answers the close with another reason",
    args: ["--expect-reason", "bye"],
    script: closing((socket) => socket.closeFrame(1000, "cheers")),
    verdict: "close-not-confirmed",
    stage: "close",
    problem: /reason "cheers", instead of 1000 \(normal closure\), reason "bye"/,
  },
  {
    does: "closes with the wrong code after the reply",
    script: async (socket) => {
      await socket.upgrade();
      await socket.echoOne();
      await socket.closeFrame(1001);
      await socket.untilGone();
    },
    args: ["--expect-close", "4000"],
    verdict: "close-not-confirmed",
    stage: "close",
  },
];

testCases(CASES);
