/** Admission: every refusal byte for byte on a raw socket, over both front doors, and the counts. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { EchoEvent, EchoOpened, EchoPolicy } from "../../lib/server/policy.ts";
import { Gatekeeper } from "../../lib/server/gatekeeper.ts";
import { handshakeRefusal, subprotocolOf, viewOf } from "../../lib/server/handshake_refusal.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import { rawClient, requestHead } from "../support/raw_peer.ts";
import { testBoth } from "../support/transports.ts";
import { exchangeHeads } from "../support/refusals.ts";

const WAIT = { timeoutMs: 60_000 };
const ADDR: Deno.Addr = { transport: "tcp", hostname: "127.0.0.1", port: 50_000 };
const PLAIN = { Upgrade: undefined, Connection: undefined };

/** Admits a request. */
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
  gate.opened({ ...first, extensions: "permessage-deflate" }, {
    messages: 3,
    bytes: 30,
    wire: { received: 70, sent: 60 },
  });
  gate.opened(second, { messages: 2, bytes: 20 });
  assertEquals(gate.stats(), {
    connections: 2,
    accepted: 2,
    messages: 5,
    bytes: 50,
    wire: { received: 70, sent: 60 },
    deflated: 1,
    closes: [],
    refusals: [],
    troubles: [],
  });
  const end = { type: "closed", peer: "", end: "close-frame", tcp: "local", detail: "", ms: 1 } as const;
  const frame = { code: 1000, reason: "" };
  const wire = { received: 80, sent: 65 };
  gate.closed({ ...end, id: 1, received: frame, sent: frame, initiator: "peer", messages: 4, bytes: 40, wire });
  assertEquals(gate.stats().wire, wire);
  // The connection has ended, but the runtime still holds its resources.
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
    wire,
    deflated: 1,
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

Deno.test("Gatekeeper keeps 1,024 characters of a path, and survives a log that cannot be written", () => {
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

testBoth("serveEcho() refuses, closes and continues even if it cannot report it", async (transport) => {
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

// A proxy in front compares the path with its private one, each in its own normal form.
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

// The runtime itself answers any Content-Length beside an upgrade with a 400.
Deno.test("Gatekeeper accepts a Content-Length of 0 with an upgrade (wire)", async () => {
  const server = serveEcho({ transport: "wire", port: 0 });
  assertMatch(await exchangeHeads(server.url, requestHead({ "Content-Length": "0" })), /^HTTP\/1\.1 101 /);
  await server.shutdown();
});

testBoth("Gatekeeper accepts every name of a loopback address, with any port", async (transport) => {
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
    // An invalid host is a bad request.
    const refused = host.includes("\u00b2") ? /^HTTP\/1\.1 400 / : /^HTTP\/1\.1 421 /;
    assertMatch(await exchangeHeads(server.url, requestHead({ Host: host })), refused, host);
  }
  await server.shutdown();
});

testBoth("Gatekeeper accepts any host on a wildcard address, until hosts are named", async (transport) => {
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

testBoth("Gatekeeper writes IPv6 peers in brackets, and IPv4 peers as such", async (transport) => {
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

testBoth("Gatekeeper compares a token that ends with the byte A0 unchanged", async (transport) => {
  const server = serveEcho({ transport, port: 0, token: "voil\u00e0" });
  // The text goes out in UTF-8, where the last letter is C3 A0.
  const right = requestHead({ Authorization: "Bearer voil\u00e0" });
  assertMatch(await exchangeHeads(server.url, right), /^HTTP\/1\.1 101 /);
  assertMatch(await exchangeHeads(server.url, requestHead({ Authorization: "Bearer voil" })), /^HTTP\/1\.1 401 /);
  await server.shutdown();
});

testBoth("Gatekeeper reports no token that was offered as a subprotocol, refused or not", async (transport) => {
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
