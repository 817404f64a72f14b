/** Who gets in: every refusal byte for byte on a raw socket, over both front doors, and what is counted. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { EchoEvent, EchoOpened, EchoPolicy, RefusalCause } from "../../lib/server/policy.ts";
import { Gatekeeper, RETRY_AFTER_SECONDS } from "../../lib/server/gatekeeper.ts";
import { handshakeRefusal, subprotocolOf, viewOf } from "../../lib/server/handshake_refusal.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import type { OpenOptions, TransportName } from "../../lib/connection/connection.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { connectRaw, rawClient, requestHead } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";

const WAIT = { timeoutMs: 60_000 };
const ADDR: Deno.Addr = { transport: "tcp", hostname: "127.0.0.1", port: 50_000 };
const PLAIN = { Upgrade: undefined, Connection: undefined };

/** The whole answer, as each front door writes it; the date is that of `shown`. */
function answer(
  transport: TransportName,
  status: string,
  fields: Record<string, string>,
  body: string,
  shown: string,
): string {
  const date = /\r\ndate: ([^\r]+)/.exec(shown)?.[1] ?? "";
  assertMatch(date, /^\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT$/);
  const all: [string, string][] = Object.entries({
    "cache-control": "no-store",
    "content-type": "text/plain; charset=utf-8",
    ...fields,
  });
  const sorted = all.sort(([a], [b]) => a < b ? -1 : 1);
  const length: [string, string] = ["content-length", `${body.length}`];
  const lines = transport === "builtin" ? [...sorted, length, ["date", date]] : [
    ...sorted.filter(([name]) => name !== "connection"),
    // Over our own frames each connection takes one request, and says so.
    ["connection", fields["connection"] ? `${fields["connection"]}, close` : "close"],
    length,
    ["date", date],
  ];
  return `HTTP/1.1 ${status}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`;
}

/** Sends a head and reads all of the answer. */
async function exchangeHeads(url: string, head: string): Promise<string> {
  const socket = await connectRaw(url);
  await socket.write(head);
  const answered = await socket.readHead();
  const length = Number(/\r\ncontent-length: (\d+)/.exec(answered)?.[1] ?? 0);
  const text = `${answered}\r\n\r\n${new TextDecoder().decode(await socket.readBytes(length))}`;
  socket.close();
  return text;
}

const UPGRADE = { connection: "Upgrade", "sec-websocket-version": "13", upgrade: "websocket" };
const MISDIRECTED = "This server does not answer for that host: the option --allow-host names those that it does.\n";
const CHALLENGE = { "www-authenticate": 'Bearer realm="wsproof", Basic realm="wsproof", charset="UTF-8"' };
const ONE_ORIGIN: EchoPolicy = { allowOrigins: ["https://app.example"] };
const TOKEN: EchoPolicy = { token: "open sesame" };

/** A request that is refused, and how. */
interface Case {
  what: string;
  head: string;
  policy?: EchoPolicy;
  status: string;
  fields?: Record<string, string>;
  body: string;
  cause: RefusalCause;
  /** The front door that leaves the answer to the policy; the other one gives its own. */
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
    body: "The only Sec-WebSocket-Version here is 13.\n",
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
    what: "a key that is none",
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
    what: "a subprotocol that is no token",
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
    body: "A request for the upgrade has no body.\n",
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
    what: "no origin where one is wanted",
    head: requestHead(),
    policy: { requireOrigin: true },
    status: "403 Forbidden",
    body: "The field Origin is missing, which is wanted here.\n",
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
    body: "The server has as many connections as it takes.\n",
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
  // A peer that does not answer the close frame holds the shutdown up.
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

testBoth("a get in small letters is refused as what it is", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  // Over the built-in front door the request is read by the runtime, which takes any method.
  const [status, reason] = transport === "wire"
    ? ["400 Bad Request", 'Line 1 has the method "get", which is not GET: methods have case.']
    : ["405 Method Not Allowed", 'The method "get" is not GET: methods have case.'];
  const shown = await exchangeHeads(server.url, requestHead({}, "get / HTTP/1.1"));
  assertEquals([shown.split("\r\n")[0], shown.split("\r\n\r\n")[1]], [`HTTP/1.1 ${status}`, `${reason}\n`]);
  await server.shutdown();
});

testBoth("Gatekeeper lets the next one in when a place is free again", async (transport) => {
  const server = serveEcho({ transport, port: 0, maxConnections: 2 });
  const [first, second] = [await openBuiltin(server.url), await openBuiltin(server.url)];
  assertMatch(await exchangeHeads(server.url, requestHead()), /^HTTP\/1\.1 503 /);
  await first.close(WAIT);
  // The place is free once the server has seen the end, which the client does not know of.
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

testBoth("Gatekeeper takes the token as Bearer, password or subprotocol, and never selects it", async (transport) => {
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

testBoth("Gatekeeper answers 500 when a page cannot be made, and goes on", async (transport) => {
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

/** Lets a request in. */
function admitted(gate: Gatekeeper, request: Request): EchoOpened {
  const admission = gate.admit(request, ADDR);
  assert(admission.type === "admitted");
  return admission.opened;
}

Deno.test("Gatekeeper counts what is open, what was echoed, and how connections ended", () => {
  const gate = new Gatekeeper({ protocols: ["chat"] });
  const head = { upgrade: "websocket", connection: "upgrade", host: "a", "sec-websocket-version": "13" };
  const headers = { ...head, "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==", "sec-websocket-protocol": "chat" };
  const request = () => new Request("http://127.0.0.1/path?x=1", { headers });
  const [first, second] = [admitted(gate, request()), admitted(gate, request())];
  assertEquals(first, { type: "opened", id: 1, peer: "127.0.0.1:50000", path: "/path?x=1", protocol: "chat" });
  gate.opened(first, { messages: 3, bytes: 30 });
  gate.opened(second, { messages: 2, bytes: 20 });
  assertEquals(gate.stats(), {
    connections: 2,
    accepted: 2,
    messages: 5,
    bytes: 50,
    closes: [],
    refusals: [],
    troubles: [],
  });
  const end = { type: "closed", peer: "", end: "close-frame", tcp: "local", detail: "", ms: 1 } as const;
  const frame = { code: 1000, reason: "" };
  gate.closed({ ...end, id: 1, received: frame, sent: frame, initiator: "peer", messages: 4, bytes: 40 });
  // It has ended, and the runtime still holds something of it.
  assertEquals([gate.stats().connections, gate.stats().messages], [2, 6]);
  gate.leave(1);
  const refusal = { code: 1008, reason: "" };
  gate.closed({ ...end, id: 2, received: null, sent: refusal, initiator: "local", messages: 2, bytes: 20 });
  gate.leave(2);
  gate.closed({ ...end, id: 3, received: null, sent: null, initiator: null, messages: 0, bytes: 0 });
  assertEquals(gate.stats(), {
    connections: 0,
    accepted: 2,
    messages: 6,
    bytes: 60,
    closes: [
      { code: 1000, initiator: "peer", count: 1 },
      { code: 1008, initiator: "server", count: 1 },
      { code: 1006, initiator: "none", count: 1 },
    ],
    refusals: [],
    troubles: [],
  });
});

Deno.test("handshakeRefusal() and subprotocolOf() judge a request without a server", () => {
  const request = new Request("http://127.0.0.1/", { headers: { "sec-websocket-protocol": "wsproof.bearer.eA, b,a" } });
  assertEquals(handshakeRefusal(viewOf(request))?.status, 426);
  assertEquals([subprotocolOf(request), subprotocolOf(request, ["a", "b"]), subprotocolOf(request, ["c"])], [
    "b",
    "a",
    "",
  ]);
});

Deno.test("Gatekeeper keeps 1,024 characters of a path, and outlives a log that cannot be written", () => {
  const gate = new Gatekeeper({
    onEvent() {
      throw new Error("The log is broken");
    },
  });
  gate.troubled("accept", "Too many open files");
  assertEquals(gate.stats().troubles, [{ kind: "accept", count: 1 }]);
  const fields = { upgrade: "websocket", connection: "upgrade", host: "a", "sec-websocket-version": "13" };
  const headers = { ...fields, "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
  const opened = admitted(gate, new Request(`http://127.0.0.1/${"x".repeat(5000)}`, { headers }));
  assertEquals(opened.path, `/${"x".repeat(1023)}`);
});

testBoth("serveEcho() refuses, closes and goes on though it cannot tell of it", async (transport) => {
  const onEvent = ({ type }: EchoEvent) => {
    if (type !== "opened") throw new Error("The log is broken");
  };
  const server = serveEcho({ transport, port: 0, onEvent });
  const refused = await exchangeHeads(server.url, requestHead({ "Sec-WebSocket-Version": "8" }));
  assertMatch(refused, /^HTTP\/1\.1 426 /);
  const connection = await openBuiltin(server.url);
  assertEquals((await connection.close(WAIT)).received?.code, 1000);
  await server.shutdown();
  assertEquals(server.stats().connections, 0);
});

const ROUTES: EchoPolicy = { routes: { "/metrics": () => new Response("secret\n") } };

for (const target of ["/metrics", "/metrics?x=\\", "http://127.0.0.1/metrics"]) {
  testBoth(`Gatekeeper answers GET ${target} with the page`, async (transport) => {
    const server = serveEcho({ transport, port: 0, ...ROUTES });
    const shown = await exchangeHeads(server.url, requestHead(PLAIN, `GET ${target} HTTP/1.1`));
    assertMatch(shown, /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nsecret\n$/);
    await server.shutdown();
  });
}

// A proxy in front compares the path with the one that it keeps to itself, each in its own normal form.
for (
  const [target, status] of [
    ["/x\\..\\metrics", 400],
    ["/\\metrics", 400],
    ["\\metrics", 400],
    ["/x/..\\metrics?x", 400],
    ["http://127.0.0.1\\metrics", 400],
    ["/metrics#x", 400],
    ["/#/../metrics", 400],
    ["//metrics", 426],
    ["/./metrics", 426],
    ["/.//metrics", 426],
    ["/%2e/metrics", 426],
    ["/x/../metrics", 426],
    ["/x/%2E%2e/metrics", 426],
    ["/metrics/", 426],
    ["/metrics/.", 426],
    ["/%6detrics", 426],
    ["/metrics%20", 426],
    ["/metrics;x", 426],
    ["/METRICS", 426],
    ["http://127.0.0.1/./metrics", 426],
    ["http://127.0.0.1//metrics", 426],
    ["/met\trics", 400],
    ["/metrics\t", 400],
    ["http:/metrics", 400],
    ["http:metrics", 400],
    ["metrics", 400],
  ] as const
) {
  testBoth(`Gatekeeper does not take ${JSON.stringify(target)} for the page /metrics: ${status}`, async (transport) => {
    const server = serveEcho({ transport, port: 0, ...ROUTES });
    const shown = await exchangeHeads(server.url, requestHead(PLAIN, `GET ${target} HTTP/1.1`));
    assertMatch(shown, new RegExp(`^HTTP/1\\.1 ${status} `));
    assert(!shown.includes("secret"));
    await server.shutdown();
  });
}

testBoth("Gatekeeper upgrades on any path, in its normal form or not", async (transport) => {
  const server = serveEcho({ transport, port: 0, ...ROUTES });
  for (const target of ["//x", "/x/../metrics", "/%2e/%00", "/metrics", "http://127.0.0.1/x"]) {
    assertMatch(await exchangeHeads(server.url, requestHead({}, `GET ${target} HTTP/1.1`)), /^HTTP\/1\.1 101 /, target);
  }
  await server.shutdown();
});

// The runtime answers any Content-Length beside an upgrade with a 400 of its own.
Deno.test("Gatekeeper takes a Content-Length of 0 with an upgrade (wire)", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  assertMatch(await exchangeHeads(server.url, requestHead({ "Content-Length": "0" })), /^HTTP\/1\.1 101 /);
  await server.shutdown();
});

testBoth("Gatekeeper takes every name of loopback there, with any port", async (transport) => {
  const server = serveEcho({ transport, port: 0 });
  for (const host of ["localhost", "LOCALHOST:1", "app.localhost:80", "127.255.0.1:6455", "[::1]", "localhost."]) {
    assertMatch(await exchangeHeads(server.url, requestHead({ Host: host })), /^HTTP\/1\.1 101 /, host);
  }
  for (
    const host of [
      "127.0.0.\u00b2",
      "%3127.0.0.1",
      "localhost.example",
      "0.0.0.0",
      "127.0.0.1.example",
      "xlocalhost",
      "128.0.0.1",
      "[::2]",
    ]
  ) {
    // What is no host at all is a bad request.
    const refused = host.includes("\u00b2") ? /^HTTP\/1\.1 400 / : /^HTTP\/1\.1 421 /;
    assertMatch(await exchangeHeads(server.url, requestHead({ Host: host })), refused, host);
  }
  await server.shutdown();
});

testBoth("Gatekeeper takes any host where it listens for all, until hosts are named", async (transport) => {
  const of = (policy: EchoPolicy) => serveEcho({ transport, hostname: "0.0.0.0", port: 0, ...policy });
  const [open, closed] = [of({}), of({ allowHosts: ["*.app.example"] })];
  const head = requestHead({ Host: "any.example" });
  const [openUrl, closedUrl] = [open, closed].map(({ url }) => url.replace("0.0.0.0", "127.0.0.1"));
  assertMatch(await exchangeHeads(openUrl ?? "", head), /^HTTP\/1\.1 101 /);
  assertMatch(await exchangeHeads(closedUrl ?? "", head), /^HTTP\/1\.1 421 /);
  assertMatch(await exchangeHeads(closedUrl ?? "", requestHead({ Host: "a.app.example" })), /^HTTP\/1\.1 101 /);
  await Promise.all([open.shutdown(), closed.shutdown()]);
});

testBoth("Gatekeeper answers a probe of /healthz for any host, and for none", async (transport) => {
  const server = serveEcho({ transport, port: 0, allowHosts: ["app.example"], token: "x" });
  for (
    const head of [
      requestHead({ ...PLAIN, Host: "10.0.0.7:6455" }, "GET /healthz HTTP/1.1"),
      "GET /healthz HTTP/1.0\r\n\r\n",
    ]
  ) assertMatch(await exchangeHeads(server.url, head), /^HTTP\/1\.[01] 200 OK\r\n/);
  await server.shutdown();
});

testBoth("Gatekeeper tells IPv6 peers in brackets, and those of IPv4 as such", async (transport) => {
  for (
    const [hostname, address, shown] of [
      ["::1", "[::1]", /^\[::1\]:\d+$/],
      ["::", "127.0.0.1", /^127\.0\.0\.1:\d+$/],
    ] as const
  ) {
    const events: EchoEvent[] = [];
    let server;
    try {
      server = serveEcho({ transport, hostname, port: 0, onEvent: (event) => events.push(event) });
    } catch {
      // A machine without IPv6 has no such peers.
      continue;
    }
    const url = `ws://${address}:${new URL(server.url).port}/`;
    const socket = await rawClient(url);
    await exchangeHeads(url, requestHead({ "Sec-WebSocket-Version": "8" }));
    socket.close();
    await server.shutdown();
    assert(events.length >= 2);
    for (const event of events) assertMatch("peer" in event ? event.peer : "", shown);
  }
});

testBoth("Gatekeeper compares a token that ends with the byte A0 as it is", async (transport) => {
  const server = serveEcho({ transport, port: 0, token: "voil\u00e0" });
  // The text goes out in UTF-8, where the last letter is C3 A0.
  const right = requestHead({ Authorization: "Bearer voil\u00e0" });
  assertMatch(await exchangeHeads(server.url, right), /^HTTP\/1\.1 101 /);
  assertMatch(await exchangeHeads(server.url, requestHead({ Authorization: "Bearer voil" })), /^HTTP\/1\.1 401 /);
  await server.shutdown();
});

testBoth("Gatekeeper tells of no token that was offered as a subprotocol, refused or not", async (transport) => {
  const events: EchoEvent[] = [];
  const server = serveEcho({ transport, port: 0, token: "x", onEvent: (event) => events.push(event) });
  const right = "wsproof.bearer.eA";
  for (const offer of [right, `${right}, chat`, "wsproof.bearer.c2VjcmV0", "WSPROOF.bearer.eA", `a b, ${right}`]) {
    await exchangeHeads(server.url, requestHead({ "Sec-WebSocket-Protocol": offer }));
  }
  await server.shutdown();
  assert(events.length >= 5);
  assert(!/bearer|c2VjcmV0/i.test(JSON.stringify(events)), JSON.stringify(events));
});
