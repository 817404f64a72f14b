/** The answers of both front doors before an upgrade, byte for byte. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { EchoEvent, EchoPolicy, RefusalCause } from "../../lib/server/policy.ts";
import { RETRY_AFTER_SECONDS } from "../../lib/server/gatekeeper.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import type { OpenOptions, TransportName } from "../../lib/connection/connection.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { rawClient, requestHead } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";
import { answer, exchangeHeads } from "../support/refusals.ts";

const WAIT = { timeoutMs: 60_000 };
const PLAIN = { Upgrade: undefined, Connection: undefined };

const UPGRADE = { connection: "Upgrade", "sec-websocket-version": "13", upgrade: "websocket" };
const MISDIRECTED = "This server does not answer for that host: --allow-host names those that it answers for.\n";
const CHALLENGE = { "www-authenticate": 'Bearer realm="wsproof", Basic realm="wsproof", charset="UTF-8"' };
const ONE_ORIGIN: EchoPolicy = { allowOrigins: ["https://app.example"] };
const TOKEN: EchoPolicy = { token: "open sesame" };

/** A refused request, and its refusal. */
interface Case {
  what: string;
  head: string;
  policy?: EchoPolicy;
  status: string;
  fields?: Record<string, string>;
  body: string;
  cause: RefusalCause;
  /** The only front door that leaves the answer to the policy; the other one gives its own. */
  only?: TransportName;
}

const CASES: readonly Case[] = [
  {
    what: "plain HTTP",
    head: requestHead(PLAIN, "GET /echo HTTP/1.1"),
    status: "426 Upgrade Required",
    fields: UPGRADE,
    body: "This is a WebSocket echo server: ask for the upgrade.\n",
    cause: "plain-http",
  },
  {
    what: "another method",
    head: requestHead({}, "POST / HTTP/1.1"),
    status: "405 Method Not Allowed",
    fields: { allow: "GET" },
    body: "A WebSocket begins with the method GET.\n",
    cause: "method",
  },
  {
    what: "another version",
    head: requestHead({ "Sec-WebSocket-Version": "8" }),
    status: "426 Upgrade Required",
    fields: UPGRADE,
    body: "The only supported Sec-WebSocket-Version is 13.\n",
    cause: "version",
  },
  ...([
    ["another protocol in a line before", "h2c\r\nUpgrade: websocket"],
    ["another protocol in a line behind", "websocket\r\nUpgrade: h2c"],
    ["the same in two lines", "websocket\r\nUpgrade: websocket"],
    ["another protocol in a list before", "h2c, websocket"],
    ["another protocol in a list behind", "websocket,h2c"],
    ["a list with nothing behind", "websocket,"],
    ["another version of it in a line before", "websocket/13\r\nUpgrade: WebSocket"],
  ] as const).map(([how, value]): Case => ({
    what: `an Upgrade with ${how}`,
    head: requestHead({ Upgrade: value }),
    status: "400 Bad Request",
    body: 'The field Upgrade is not "websocket" alone.\n',
    cause: "bad-handshake",
  })),
  ...["h2c", "websocket/13", "web socket", "websocket\u00a0"].map((value): Case => ({
    what: `the Upgrade ${JSON.stringify(value)}`,
    head: requestHead({ Upgrade: value }),
    status: "426 Upgrade Required",
    fields: UPGRADE,
    body: "This is a WebSocket echo server: ask for the upgrade.\n",
    cause: "plain-http",
  })),
  {
    what: "an invalid key",
    head: requestHead({ "Sec-WebSocket-Key": "short" }),
    status: "400 Bad Request",
    body: "The field Sec-WebSocket-Key is not 16 bytes in Base64.\n",
    cause: "bad-handshake",
  },
  {
    what: "a Connection without the upgrade",
    head: requestHead({ Connection: "keep-alive" }),
    status: "400 Bad Request",
    body: 'The field Connection does not have the token "Upgrade".\n',
    cause: "bad-handshake",
  },
  {
    what: "a subprotocol that is not a token",
    head: requestHead({ "Sec-WebSocket-Protocol": "a b" }),
    status: "400 Bad Request",
    body: "The field Sec-WebSocket-Protocol has a name that is not a token.\n",
    cause: "bad-handshake",
  },
  {
    what: "a Host that would be part of the path",
    head: requestHead({ Host: "x/healthz?" }),
    status: "400 Bad Request",
    body: "The host or the path is not valid.\n",
    cause: "bad-handshake",
    only: "builtin",
  },
  ...["8", "0x0", "-0", "+0", "", "0.0", "0e1", "0\u00a0", "0\r\nContent-Length: 8"].map((length): Case => ({
    what: `an upgrade with the Content-Length ${JSON.stringify(length)}`,
    head: requestHead({ "Content-Length": length }),
    status: "400 Bad Request",
    body: "A request for an upgrade has no body.\n",
    cause: "bad-handshake",
    only: "wire",
  })),
  {
    what: "an upgrade for a foreign host",
    head: requestHead({ Host: "rebound.example:6455" }),
    status: "421 Misdirected Request",
    body: MISDIRECTED,
    cause: "host",
  },
  {
    what: "an upgrade for a foreign host in an absolute target",
    head: requestHead({}, "GET http://rebound.example/ HTTP/1.1"),
    status: "421 Misdirected Request",
    body: MISDIRECTED,
    cause: "host",
  },
  ...["/", "/metrics"].map((path): Case => ({
    what: `${path} for a foreign host`,
    head: requestHead({ ...PLAIN, Host: "rebound.example:6455" }, `GET ${path} HTTP/1.1`),
    policy: { routes: { "/": () => new Response("page"), "/metrics": () => new Response("secret") } },
    status: "421 Misdirected Request",
    body: MISDIRECTED,
    cause: "host",
  })),
  {
    what: "a foreign origin",
    head: requestHead({ Origin: "https://evil.example" }),
    policy: ONE_ORIGIN,
    status: "403 Forbidden",
    body: "Pages of this origin may not connect.\n",
    cause: "origin",
  },
  {
    what: "no origin where one is required",
    head: requestHead(),
    policy: { requireOrigin: true },
    status: "403 Forbidden",
    body: "The field Origin is missing, and this server requires it.\n",
    cause: "origin",
  },
  {
    what: "no token",
    head: requestHead(),
    policy: TOKEN,
    status: "401 Unauthorized",
    fields: CHALLENGE,
    body: "The token is missing or wrong.\n",
    cause: "token",
  },
  {
    what: "a wrong token",
    head: requestHead({ Authorization: "Bearer open sesame!" }),
    policy: TOKEN,
    status: "401 Unauthorized",
    fields: CHALLENGE,
    body: "The token is missing or wrong.\n",
    cause: "token",
  },
  {
    what: "metrics without the token",
    head: requestHead(PLAIN, "GET /metrics HTTP/1.1"),
    policy: { ...TOKEN, routes: { "/metrics": () => new Response("secret") } },
    status: "401 Unauthorized",
    fields: CHALLENGE,
    body: "The token is missing or wrong.\n",
    cause: "token",
  },
  {
    what: "one connection too many",
    head: requestHead(),
    policy: { maxConnections: 0 },
    status: "503 Service Unavailable",
    fields: { "retry-after": "5" },
    body: "The server has reached its limit of connections.\n",
    cause: "connections",
  },
];

for (const { what, head, policy = {}, status, fields = {}, body, cause, only } of CASES) {
  testBoth(`Gatekeeper answers ${status} to ${what}, byte for byte`, async (transport) => {
    const events: EchoEvent[] = [];
    const server = serveEcho({ ...policy, transport, port: 0, onEvent: (event) => events.push(event) });
    const shown = await exchangeHeads(server.url, head);
    if (only !== undefined && only !== transport) {
      assertMatch(shown, new RegExp(`^HTTP/1\\.1 ${status}\r\n`));
      return await server.shutdown().then(() => {});
    }
    assertEquals(shown, answer(transport, status, fields, body, shown));
    const [event] = events;
    assert(event?.type === "refused");
    assertEquals([event.status, event.cause, events.length], [Number(status.slice(0, 3)), cause, 1]);
    assertEquals(`${event.reason}\n`, body);
    assertEquals(server.stats().refusals, [{ cause, count: 1 }]);
    await server.shutdown();
  });
}

testBoth("Gatekeeper answers 503 to all while the server shuts down, and so does /healthz", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  const healthz = requestHead(PLAIN, "GET /healthz HTTP/1.1");
  const well = await exchangeHeads(server.url, healthz);
  assertEquals(well, answer(transport, "200 OK", {}, "ok\n", well));
  // A peer that does not answer the close frame delays the shutdown.
  const socket = await rawClient(server.url);
  const shutdown = server.shutdown(WAIT);
  await socket.readFrame();
  const retry = { "retry-after": `${RETRY_AFTER_SECONDS}` };
  const ill = await exchangeHeads(server.url, healthz);
  assertEquals(ill, answer(transport, "503 Service Unavailable", retry, "draining\n", ill));
  const refused = await exchangeHeads(server.url, requestHead());
  assertEquals(
    refused,
    answer(transport, "503 Service Unavailable", retry, "The server is shutting down.\n", refused),
  );
  socket.close();
  await shutdown;
});

testBoth("a request with the method get is refused for its case", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  // Over the built-in front door the runtime reads the request, and accepts any method.
  const [status, reason] = transport === "wire"
    ? ["400 Bad Request", 'Line 1 has the method "get", which is not GET: methods are case-sensitive.']
    : ["405 Method Not Allowed", 'The method "get" is not GET: methods are case-sensitive.'];
  const shown = await exchangeHeads(server.url, requestHead({}, "get / HTTP/1.1"));
  assertEquals([shown.split("\r\n")[0], shown.split("\r\n\r\n")[1]], [`HTTP/1.1 ${status}`, `${reason}\n`]);
  await server.shutdown();
});

testBoth("Gatekeeper lets the next one in when a place is free again", async (transport) => {
  const server = serveEcho({ transport, port: 0, maxConnections: 2 });
  const [first, second] = [await openBuiltin(server.url), await openBuiltin(server.url)];
  assertMatch(await exchangeHeads(server.url, requestHead()), /^HTTP\/1\.1 503 /);
  await first.close(WAIT);
  // The place is free once the server has seen the end, which the client cannot know.
  let third;
  const deadline = performance.now() + WAIT.timeoutMs;
  while (third === undefined && performance.now() < deadline) {
    third = await openBuiltin(server.url).catch(() => undefined);
  }
  assert(third);
  assertEquals(server.stats().connections, 2);
  await Promise.all([second.close(WAIT), third.close(WAIT)]);
  await server.shutdown();
  assertEquals(server.stats().connections, 0);
});

testBoth("Gatekeeper accepts the token as Bearer, password or subprotocol, and never selects it", async (transport) => {
  const server = serveEcho({ transport, port: 0, token: "s\u00e9same" });
  const offer = `wsproof.bearer.${
    new TextEncoder().encode("s\u00e9same").toBase64({ alphabet: "base64url", omitPadding: true })
  }`;
  const password = new TextEncoder().encode("ali:s\u00e9same").toBase64();
  const ways: [OpenOptions, string][] = [
    [{ protocols: [offer, "chat"] }, "chat"],
    [{ headers: new Headers({ authorization: `Basic ${password}` }) }, ""],
  ];
  for (const [options, protocol] of ways) {
    const connection = await openWire(server.url, options);
    assertEquals(connection.protocol, protocol);
    await connection.close(WAIT);
  }
  await server.shutdown();
});

testBoth("Gatekeeper selects by the server's order, and nothing if nothing fits", async (transport) => {
  const server = serveEcho({ transport, port: 0, protocols: ["v2", "v1"] });
  for (const [offered, selected] of [[["v1", "v2"], "v2"], [["v1"], "v1"], [["v3"], ""]] as const) {
    const head = await exchangeHeads(server.url, requestHead({ "Sec-WebSocket-Protocol": offered.join(", ") }));
    assertMatch(head, /^HTTP\/1\.1 101 /);
    assertEquals(/sec-websocket-protocol: (\S+)/i.exec(head)?.[1] ?? "", selected);
  }
  await server.shutdown();
});

testBoth("Gatekeeper answers 500 when a page cannot be made, and continues", async (transport) => {
  const routes = {
    "/": () => {
      throw new Error("No page today");
    },
  };
  const server = serveEcho({ transport, port: 0, routes });
  const shown = await exchangeHeads(server.url, requestHead(PLAIN));
  assertEquals(shown, answer(transport, "500 Internal Server Error", {}, "No page today\n", shown));
  const connection = await openBuiltin(server.url);
  await connection.close(WAIT);
  await server.shutdown();
});
