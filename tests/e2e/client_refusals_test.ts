/** Faults of a peer up to the upgrade, and the client's report on each. */

import type { Script } from "../support/raw_peer.ts";
import { type Case, testCases } from "../support/faults.ts";

const answering = (status: string, ...fields: string[]): Script => async (socket) => {
  await socket.readHead();
  await socket.write([`HTTP/1.1 ${status}`, ...fields, "Content-Length: 0", "", ""].join("\r\n"));
};

/** Only for the stage that must time out; on a busy machine others may take longer. */
const SHORT_CONNECT = ["--connect-timeout", "0.4"];

const CASES: readonly Case[] = [
  // No connection.
  {
    does: "stays silent before the upgrade",
    script: (socket) => socket.untilGone(),
    args: SHORT_CONNECT,
    verdict: "no-connection",
    stage: "connect",
    problem: /No answer within 0.4 s/,
  },
  {
    does: "stops in the middle of the head",
    script: async (socket) => {
      await socket.readHead();
      await socket.write("HTTP/1.1 101 Switching Proto");
      await socket.untilGone();
    },
    args: SHORT_CONNECT,
    verdict: "no-connection",
    stage: "connect",
  },

  // Handshake refused.
  {
    does: "answers 403",
    script: answering("403 Forbidden"),
    verdict: "handshake-refused",
    stage: "upgrade",
    problem: /status 403 \(Forbidden\) instead of 101/,
    hint: /--origin/,
  },
  {
    does: "answers 404",
    script: answering("404 Not Found"),
    verdict: "handshake-refused",
    stage: "upgrade",
    problem: /404/,
    hint: /no WebSocket endpoint/,
  },
  {
    does: "answers 401",
    script: answering("401 Unauthorized"),
    verdict: "handshake-refused",
    stage: "upgrade",
    hint: /credentials/,
  },
  {
    does: "redirects",
    script: answering("302 Found", "Location: ws://127.0.0.1:1/"),
    verdict: "handshake-refused",
    stage: "upgrade",
    problem: /302/,
    hint: /not followed/,
  },
  { does: "answers 200", script: answering("200 OK"), verdict: "handshake-refused", stage: "upgrade", problem: /200/ },
  {
    does: "speaks another protocol",
    script: async (socket) => {
      await socket.readHead();
      await socket.write("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    },
    verdict: "handshake-refused",
    stage: "upgrade",
    problem: /not a valid upgrade/,
  },
  {
    does: "leaves out the field Upgrade",
    script: answering("101 Switching Protocols", "Connection: Upgrade"),
    verdict: "handshake-refused",
    stage: "upgrade",
    problem: /the field Upgrade is not "websocket"/,
  },
  {
    does: "leaves out the field Connection",
    script: answering("101 Switching Protocols", "Upgrade: websocket"),
    verdict: "handshake-refused",
    stage: "upgrade",
    problem: /the field Connection/,
  },
  {
    does: "selects no subprotocol",
    script: async (socket) => {
      await socket.upgrade();
      await socket.answerClose();
    },
    args: ["-p", "chat"],
    verdict: "handshake-refused",
    stage: "upgrade",
    problem: /none of the offered subprotocols: "chat"/,
  },
  {
    does: "selects a subprotocol that was not offered",
    script: async (socket) => {
      await socket.upgrade("Sec-WebSocket-Protocol: soap");
      await socket.answerClose();
    },
    args: ["-p", "chat"],
    verdict: "handshake-refused",
    stage: "upgrade",
    problem: /"soap", which was not offered/,
  },
  {
    does: "selects a subprotocol where none was offered",
    script: async (socket) => {
      await socket.upgrade("Sec-WebSocket-Protocol: soap");
      await socket.answerClose();
    },
    verdict: "handshake-refused",
    stage: "upgrade",
    problem: /"soap", which was not offered/,
  },
];

testCases(CASES);
