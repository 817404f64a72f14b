/** The common behavior of a connection over both transports. */

import { assertEquals, assertRejects } from "@std/assert";
import { ProtocolError } from "../../lib/protocol/error.ts";
import {
  type Connection,
  ConnectionClosedError,
  OpenError,
  type OpenOptions,
  OptionError,
  type TransportName,
} from "../../lib/connection/connection.ts";
import { exchange } from "../../lib/client/exchange.ts";
import { TimeoutError } from "../../lib/net/deadline.ts";
import { openConnection } from "../../lib/connection/open.ts";
import { BINARY, rawPeer, type Script, TEXT } from "../support/raw_peer.ts";

const WAIT = { timeoutMs: 60_000 };
const SHORT = { timeoutMs: 100 };

/** Runs a test over a connection that the peer has upgraded. */
async function connected(
  transport: TransportName,
  script: Script,
  test: (connection: Connection) => Promise<void>,
  options: OpenOptions = {},
) {
  await using peer = rawPeer(async (socket) => {
    await socket.upgrade();
    await script(socket);
  });
  await test(await openConnection(peer.url, transport, options));
}

/** Fewer than any request and any ClientHello has. */
const MIN_REQUEST_BYTES = 64;

const untilGone: Script = (socket) => socket.untilGone();

for (const transport of ["builtin", "wire"] as const) {
  Deno.test(`openConnection() rejects with no-connection when the answer takes longer than connectTimeoutMs, over ${transport}`, async () => {
    await using peer = rawPeer(untilGone);
    const error = await assertRejects(
      () => openConnection(peer.url, transport, { connectTimeoutMs: 100 }),
      OpenError,
      "within 0.1 s",
    );
    assertEquals([error.failure, error.status], ["no-connection", undefined]);
  });

  Deno.test(`openConnection() takes http: for ws: and https: for wss:, over ${transport}`, async () => {
    const starts: string[] = [];
    await using plain = rawPeer((socket) => socket.upgrade().then(() => socket.answerClose()).then(() => {}));
    await using secure = rawPeer(async (socket) => {
      starts.push(String.fromCharCode(...await socket.readBytes(MIN_REQUEST_BYTES)));
    });
    const connection = await openConnection(plain.url.replace("ws:", "http:"), transport);
    assertEquals((await connection.close(WAIT)).received?.code, 1000);
    // No byte of the request, with its credentials, goes out in plain text: a record of TLS begins with 22.
    const url = `${secure.url.replace("ws://", "https://me:secret@")}only-over-tls`;
    await assertRejects(() => openConnection(url, transport, { connectTimeoutMs: 60_000 }), OpenError);
    assertEquals(starts.filter((start) => start.includes("only-over-tls")), []);
    assertEquals(starts.some((start) => start.startsWith("\x16")), true);
  });

  Deno.test(`openConnection() and exchange() refuse other URLs, and quote no password, over ${transport}`, async () => {
    await using peer = rawPeer((socket) => socket.upgrade().then(() => {}));
    for (
      const [url, problem] of [
        [peer.url.replace("ws:", "ftp:"), "the scheme of the URL is ftp: instead of ws: or wss:"],
        ["mailto:me@a.example", "the scheme of the URL is mailto: instead of ws: or wss:"],
        ["ws://me:secret@[", "the URL is not valid"],
        ["", "the URL is not valid"],
      ] as const
    ) {
      for (const open of [openConnection(url, transport), exchange(url, { transport })]) {
        const error = await assertRejects(() => open, OptionError);
        assertEquals(error.message, `Cannot open the connection: ${problem}`);
      }
    }
  });

  Deno.test(`openConnection() rejects with the status of the answer, over ${transport}`, async () => {
    await using peer = rawPeer(async (socket) => {
      await socket.readHead();
      await socket.write("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    });
    const error = await assertRejects(
      () => openConnection(peer.url, transport),
      OpenError,
      "503 (Service Unavailable)",
    );
    assertEquals([error.failure, error.status], ["handshake-refused", 503]);
  });

  Deno.test(`openConnection() rejects with the reason of the signal, before and while it connects, over ${transport}`, async () => {
    const reason = new Error("enough");
    await assertRejects(
      () => openConnection("ws://127.0.0.1:1/", transport, { signal: AbortSignal.abort(reason) }),
      Error,
      "enough",
    );
    const controller = new AbortController();
    await using peer = rawPeer(async (socket) => {
      await socket.readHead();
      controller.abort(reason);
      await socket.untilGone();
    });
    await assertRejects(() => openConnection(peer.url, transport, { signal: controller.signal }), Error, "enough");
  });

  Deno.test(`receive() returns text and binary messages in the order of arrival, fragments as whole messages, over ${transport}`, async () => {
    await connected(transport, async (socket) => {
      await socket.frame(TEXT, "one");
      await socket.frame(TEXT, "tw", 0);
      await socket.frame(0, "o");
      await socket.frame(BINARY, Uint8Array.of(3));
      await socket.answerClose();
    }, async (connection) => {
      assertEquals(await connection.receive(WAIT), "one");
      assertEquals(await connection.receive(WAIT), "two");
      assertEquals(await connection.receive(WAIT), Uint8Array.of(3));
      await connection.close(WAIT);
    });
  });

  Deno.test(`receive() rejects with a TimeoutError when nothing arrives, and the connection stays usable, over ${transport}`, async () => {
    await connected(transport, async (socket) => {
      await socket.echoOne();
      await socket.answerClose();
    }, async (connection) => {
      const error = await assertRejects(
        () => connection.receive(SHORT),
        TimeoutError,
        "No complete message within 0.1 s",
      );
      assertEquals(error.timeoutMs, 100);
      await connection.send("still here");
      assertEquals(await connection.receive(WAIT), "still here");
      await connection.close(WAIT);
    });
  });

  Deno.test(`receive() returns the arrived messages before it rejects with the end of the connection, over ${transport}`, async () => {
    await connected(transport, async (socket) => {
      await socket.frame(TEXT, "last words");
      await socket.closeFrame(1001, "bye");
      await socket.untilGone();
    }, async (connection) => {
      await connection.closed;
      assertEquals(await connection.receive(WAIT), "last words");
      const error = await assertRejects(() => connection.receive(WAIT), ConnectionClosedError);
      assertEquals(error.message, 'Peer closed with 1001 (going away), reason "bye"');
      assertEquals(error.record.received, { code: 1001, reason: "bye" });
    });
  });

  Deno.test(`receive() rejects with the reason of the signal, over ${transport}`, async () => {
    await connected(transport, (socket) => socket.answerClose().then(() => {}), async (connection) => {
      const controller = new AbortController();
      const receiving = assertRejects(() => connection.receive({ signal: controller.signal }), Error, "enough");
      controller.abort(new Error("enough"));
      await receiving;
      await connection.close(WAIT);
    });
  });

  Deno.test(`drain() returns what nobody received, in order, over ${transport}`, async () => {
    await connected(transport, async (socket) => {
      for (const text of ["one", "two", "three"]) await socket.frame(TEXT, text);
      await socket.answerClose();
    }, async (connection) => {
      await connection.close(WAIT);
      assertEquals(await connection.receive(WAIT), "one");
      assertEquals(connection.drain(), ["two", "three"]);
      assertEquals(connection.drain(), []);
    });
  });

  Deno.test(`the iterator of a connection gives its messages and ends with a close frame of the peer, over ${transport}`, async () => {
    await connected(transport, async (socket) => {
      await socket.frame(TEXT, "one");
      await socket.frame(TEXT, "two");
      await socket.closeFrame(1000);
      await socket.untilGone();
    }, async (connection) => {
      assertEquals(await Array.fromAsync(connection), ["one", "two"]);
    });
  });

  Deno.test(`the iterator of a connection throws when the connection drops, over ${transport}`, async () => {
    await connected(transport, (socket) => socket.frame(TEXT, "one"), async (connection) => {
      await assertRejects(() => Array.fromAsync(connection), ConnectionClosedError, "without a close frame");
    });
  });

  Deno.test(`send() rejects when the connection has ended, and after close(), over ${transport}`, async () => {
    await connected(transport, (socket) => socket.closeFrame(1000), async (connection) => {
      await connection.closed;
      await assertRejects(() => connection.send("x"), ConnectionClosedError, "1000");
    });
    await connected(transport, (socket) => socket.answerClose().then(() => {}), async (connection) => {
      const closing = connection.close(WAIT);
      await assertRejects(() => connection.send("x"), ConnectionClosedError, "1000");
      await closing;
    });
  });

  Deno.test(`close() records no answer when the deadline passes, and when the signal comes, over ${transport}`, async () => {
    for (const ends of ["deadline", "signal"]) {
      await connected(transport, untilGone, async (connection) => {
        const controller = new AbortController();
        const closing = connection.close(ends === "deadline" ? SHORT : { signal: controller.signal });
        if (ends === "signal") controller.abort();
        const { sent, received, end } = await closing;
        assertEquals({ sent, received, end }, { sent: { code: 1000, reason: "" }, received: null, end: "no-answer" });
      });
    }
  });

  Deno.test(`close() returns the record of a connection that has ended already, over ${transport}`, async () => {
    await connected(
      transport,
      (socket) => socket.closeFrame(1001, "bye").then(() => socket.untilGone()),
      async (connection) => {
        await connection.closed;
        const { sent, received, initiator, end } = await connection.close({ code: 4000 });
        assertEquals([received, initiator, end], [{ code: 1001, reason: "bye" }, "peer", "close-frame"]);
        assertEquals(sent, received);
      },
    );
  });

  Deno.test(`send() says why a connection failed, without waiting for a peer that does not answer, over ${transport}`, async () => {
    await connected(transport, async (socket) => {
      await socket.frame(TEXT, "too long");
      await socket.untilGone();
    }, async (connection) => {
      await assertRejects(() => connection.receive(WAIT), ProtocolError, "limit of 4 bytes");
      await assertRejects(() => connection.send("x", SHORT), ProtocolError, "limit of 4 bytes");
      await connection.close(SHORT);
    }, { maxMessageBytes: 4 });
    await connected(transport, untilGone, async (connection) => {
      const closing = connection.close({ timeoutMs: 500 });
      await assertRejects(() => connection.send("x", SHORT), TimeoutError);
      await closing;
    });
  });

  Deno.test(`closed reports a broken protocol, when the reason of the peer's close frame has 124 bytes, over ${transport}`, async () => {
    for (const first of ["peer", "local"]) {
      await connected(transport, async (socket) => {
        if (first === "local") await socket.readFrame();
        await socket.closeFrame(1000, "r".repeat(124));
        await socket.untilGone();
      }, async (connection) => {
        const { received, end, detail } = await (first === "local" ? connection.close(WAIT) : connection.closed);
        assertEquals([received, end, detail], [null, "protocol-error", "Control frame is longer than 125 bytes"]);
      });
    }
  });

  Deno.test(`closed has the reason of the peer's close frame, when it has 123 bytes, over ${transport}`, async () => {
    const reason = `${"é".repeat(61)}r`;
    await connected(transport, async (socket) => {
      await socket.closeFrame(1000, reason);
      await socket.untilGone();
    }, async (connection) => assertEquals((await connection.closed).received?.reason, reason));
  });

  Deno.test(`closed says inside which message the peer ended, if known, over ${transport}`, async () => {
    for (const ends of ["with a close frame", "without one"]) {
      await connected(transport, async (socket) => {
        await socket.frame(TEXT, "half", 0);
        if (ends === "without one") return;
        await socket.closeFrame(1000);
        await socket.untilGone();
      }, async (connection) => {
        const lost = { kind: "text", bytes: 4 };
        assertEquals((await connection.closed).incomplete, transport === "wire" ? lost : "not-known");
      });
    }
    await connected(transport, (socket) => socket.answerClose().then(() => {}), async (connection) => {
      assertEquals((await connection.close(WAIT)).incomplete, transport === "wire" ? null : "not-known");
    });
  });

  Deno.test(`openConnection() reads an empty subprotocol as none, over ${transport}`, async () => {
    await using peer = rawPeer(async (socket) => {
      await socket.upgrade("Sec-WebSocket-Protocol:");
      await socket.answerClose();
    });
    const connection = await openConnection(peer.url, transport);
    assertEquals(connection.protocol, "");
    await connection.close(WAIT);
    await assertRejects(
      () => openConnection(peer.url, transport, { protocols: ["chat"] }),
      OpenError,
      "none of the offered subprotocols",
    );
  });

  Deno.test(`openConnection() rejects more than one subprotocol in a field, over ${transport}`, async () => {
    for (const selected of ["chat, soap", "chat,chat", "chat,", ","]) {
      await using peer = rawPeer(async (socket) => {
        await socket.upgrade(`Sec-WebSocket-Protocol: ${selected}`);
        await socket.answerClose();
      });
      await assertRejects(
        () => openConnection(peer.url, transport, { protocols: ["chat", "soap"] }),
        OpenError,
        "more than one subprotocol",
      );
    }
  });
}
