/** The front doors through their real command lines: one request, one error or one reader must not harm the others. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import { createAuthority } from "../support/certificates.ts";
import {
  client,
  handlerProcess,
  outcomeOf,
  type ServerProcess,
  serverProcess,
  serverProcessWith,
  start,
} from "../support/command.ts";
import { hasNginx, startNginx } from "../support/nginx.ts";
import { connectRaw, rawClient, type RawSocket, requestHead, TEXT } from "../support/raw_peer.ts";
import { testBoth, TRANSPORTS } from "../support/transports.ts";

const WAIT = { timeoutMs: 60_000 };
const PLAIN = { Upgrade: undefined, Connection: undefined };
const notOnWindows = { ignore: Deno.build.os === "windows" };

/** The next event of a type in the JSON log. */
async function nextEvent(server: Pick<ServerProcess, "nextLine">, type: string) {
  while (true) {
    const event = JSON.parse(await within(server.nextLine(), "line of the log", WAIT));
    if (event.type === type) return event;
  }
}

/** The status line of the answer to a head. */
async function statusLineOf(url: string, head: string): Promise<string> {
  const socket = await connectRaw(url);
  try {
    await socket.write(head);
    return (await within(socket.readHead(), "answer", WAIT)).split("\r\n")[0] ?? "";
  } finally {
    socket.close();
  }
}

async function metricsOf(url: string): Promise<string> {
  const answer = await fetch(new URL("/metrics", url.replace("ws:", "http:")), {
    signal: AbortSignal.timeout(WAIT.timeoutMs),
  });
  return await answer.text();
}

const TWO_UPGRADES = requestHead({ Upgrade: "h2c\r\nUpgrade: websocket" });

testBoth("server survives a request for another protocol before the upgrade", async (transport) => {
  await using server = await serverProcess("--transport", transport, "--log", "json");
  assertEquals(await statusLineOf(server.url, TWO_UPGRADES), "HTTP/1.1 400 Bad Request");
  const refused = await nextEvent(server, "refused");
  assertEquals([refused.status, refused.cause], [400, "bad-handshake"]);
  assertEquals(await statusLineOf(server.url, requestHead()), "HTTP/1.1 101 Switching Protocols");
});

testBoth("server survives a request for another protocol before the upgrade, over TLS", async (transport) => {
  const authority = await createAuthority();
  const { cert, key } = await authority.sign("localhost");
  const folder = await Deno.makeTempDir();
  const [certPath, keyPath] = [`${folder}/cert.pem`, `${folder}/key.pem`];
  await Deno.writeTextFile(certPath, cert);
  await Deno.writeTextFile(keyPath, key);
  await using server = await serverProcess("-q", "--transport", transport, "--cert", certPath, "--key", keyPath);
  const port = Number(new URL(server.url).port);
  for (const [head, status] of [[TWO_UPGRADES, 400], [requestHead(), 101]] as const) {
    const tcp = await Deno.connect({ hostname: "127.0.0.1", port });
    const conn = await Deno.startTls(tcp, { hostname: "localhost", caCerts: [authority.cert] });
    await conn.write(new TextEncoder().encode(head));
    const answer = new Uint8Array(4096);
    const count = await within(conn.read(answer), "answer", WAIT);
    assertMatch(new TextDecoder().decode(answer.subarray(0, count ?? 0)), new RegExp(`^HTTP/1\\.1 ${status} `));
    conn.close();
  }
  await Deno.remove(folder, { recursive: true });
});

Deno.test("handler survives a request for another protocol before the upgrade", async () => {
  await using server = await handlerProcess({ WSPROOF_LOG: "json" });
  for (let worker = 0; worker < 8; worker++) {
    assertEquals(await statusLineOf(server.url, TWO_UPGRADES), "HTTP/1.1 400 Bad Request");
    assertEquals((await nextEvent(server, "refused")).cause, "bad-handshake");
  }
  assertEquals(await statusLineOf(server.url, requestHead()), "HTTP/1.1 101 Switching Protocols");
});

/** Throws an uncatchable error at each SIGUSR1: first a rejected promise, then an exception. */
const THROWS = `let count = 0;
  Deno.addSignalListener("SIGUSR1", () => {
    if (++count % 2) Promise.reject(new Error("Request closed"));
    else throw new TypeError("Out of the runtime");
  });`;
const THROWS_URL = `data:application/javascript,${encodeURIComponent(THROWS)}`;

/** An import map that adds these throws to a module that the handler imports: `deno serve` loads no other module. */
async function mapThatThrows(): Promise<{ path: string } & AsyncDisposable> {
  const offline = new URL("../../offline/", import.meta.url);
  const { imports }: { imports: Record<string, string> } = JSON.parse(
    await Deno.readTextFile(new URL("import_map.json", offline)),
  );
  const mapped = Object.entries(imports).map(([name, path]) => [name, new URL(path, offline).href]);
  const status = mapped.find(([name]) => name === "@std/http/status");
  assert(status);
  status[1] = `data:application/javascript,${encodeURIComponent(`export * from "${status[1]}"; ${THROWS}`)}`;
  const path = await Deno.makeTempFile({ suffix: ".json" });
  await Deno.writeTextFile(path, JSON.stringify({ imports: Object.fromEntries(mapped) }));
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path) };
}

testBoth("server continues after an error that nobody caught, reports it and counts it", async (transport) => {
  await using server = await serverProcessWith(
    { permissions: [`--preload=${THROWS_URL}`] },
    ...["--transport", transport, "--log", "json"],
  );
  const held = await rawClient(server.url);
  for (const error of ["Request closed", "Out of the runtime"]) {
    server.child.kill("SIGUSR1");
    const trouble = await nextEvent(server, "trouble");
    assertEquals([trouble.kind, trouble.error], ["runtime", error]);
  }
  await held.frame(TEXT, "still here");
  assertEquals((await held.readFrame()).opcode, TEXT);
  held.close();
  assertStringIncludes(await metricsOf(server.url), '\nwsproof_troubles_total{kind="runtime"} 2\n');
}, notOnWindows);

Deno.test({
  name: "server --lab continues after an error that nobody caught, and reports it",
  ...notOnWindows,
  fn: async () => {
    await using server = await serverProcessWith(
      { permissions: [`--preload=${THROWS_URL}`] },
      "--lab",
      "--log",
      "json",
    );
    server.child.kill("SIGUSR1");
    assertEquals((await nextEvent(server, "trouble")).error, "Request closed");
    assertMatch(await statusLineOf(server.url, requestHead()), / 101 /);
  },
});

Deno.test({
  name: "handler continues after an error that nobody caught, and reports it",
  ...notOnWindows,
  fn: async () => {
    await using map = await mapThatThrows();
    await using server = await handlerProcess({ WSPROOF_LOG: "json" }, `--import-map=${map.path}`);
    server.child.kill("SIGUSR1");
    const trouble = await nextEvent(server, "trouble");
    assertEquals([trouble.kind, trouble.error], ["runtime", "Request closed"]);
    assertMatch(trouble.worker, /^[0-9a-f]{8}$/);
    assertMatch(await statusLineOf(server.url, requestHead()), / 101 /);
  },
});

/** Repeats a refused request until the log is full: each of its lines has more than a thousand characters. */
async function fillLog(url: string, count: number): Promise<void> {
  const head = requestHead(PLAIN, `GET /${"x".repeat(1100)} HTTP/1.1`);
  for (let asked = 0; asked < count; asked += 20) {
    const answers = await Promise.all(Array.from({ length: 20 }, () => statusLineOf(url, head)));
    assertEquals(new Set(answers), new Set(["HTTP/1.1 426 Upgrade Required"]));
  }
}

testBoth("server answers and ends even if nobody reads its log", async (transport) => {
  await using server = await serverProcess("--transport", transport, "--log", "json");
  // A pipe holds 64 KiB, and its reader here as much again.
  await fillLog(server.url, 400);
  assertEquals(await statusLineOf(server.url, requestHead()), "HTTP/1.1 101 Switching Protocols");
  server.child.kill("SIGTERM");
  // The output on the other stream shows that the log was still full.
  const { code, stderr } = await server.endedUnread();
  assertEquals(code, 0);
  assertMatch(stderr, /^wsproof: The last \d+ lines of the log are lost: nobody reads it\n$/);
}, notOnWindows);

testBoth("server ends even if nobody reads its log and its errors, which share a pipe", async (transport) => {
  // The shell joins both streams in one pipe, which nobody reads after the first line.
  const words = ["-c", 'exec "$0" "$@" 2>&1'];
  await using server = await serverProcessWith({ shell: words }, "--transport", transport, "--log", "json");
  await fillLog(server.url, 400);
  server.child.kill("SIGTERM");
  assertEquals((await server.endedUnread()).code, 0);
}, notOnWindows);

testBoth("server says in its log how much of it is missing, and /metrics counts it", async (transport) => {
  await using server = await serverProcess("--transport", transport, "--log", "json");
  // More than a mebibyte.
  await fillLog(server.url, 1400);
  const [, counted] = /\nwsproof_log_dropped_lines_total (\d+)\n/.exec(await metricsOf(server.url)) ?? [];
  assert(Number(counted) > 0);
  let [refused, dropped] = [0, 0];
  while (refused + dropped < 1400) {
    const event = JSON.parse(await within(server.nextLine(), "line of the log", WAIT));
    if (event.type === "refused") refused++;
    if (event.type === "dropped") dropped += event.lines;
  }
  assertEquals([refused + dropped, dropped], [1400, Number(counted)]);
});

testBoth("server writes its log up to the last line at its end", async (transport) => {
  await using server = await serverProcess("--transport", transport, "--log", "json");
  await fillLog(server.url, 40);
  server.child.kill("SIGTERM");
  for (let line = 0; line < 40; line++) await nextEvent(server, "refused");
  assertEquals((await nextEvent(server, "stopped")).unanswered, 0);
  assertEquals(await server.ended(), { code: 0, stderr: "" });
}, notOnWindows);

testBoth("server answers pages even if no descriptor is left to load them with", async (transport) => {
  await using server = await serverProcessWith(
    { descriptors: 80 },
    ...["--transport", transport, "--log", "json", "--max-connections", "1000"],
  );
  // Metrics load while the server already listens; a request waits for them.
  await metricsOf(server.url);
  const early = [await connectRaw(server.url), await connectRaw(server.url)];
  const trouble = nextEvent(server, "trouble");
  const held: Promise<RawSocket | undefined>[] = [];
  let isOver = false;
  trouble.then(() => isOver = true);
  while (!isOver && held.length < 500) {
    const next = rawClient(server.url).catch(() => undefined);
    held.push(next);
    await Promise.race([next, trouble]);
  }
  assertStringIncludes((await trouble).error, "Too many open files");
  for (const [index, path] of ["/", "/metrics"].entries()) {
    await early[index]?.write(requestHead(PLAIN, `GET ${path} HTTP/1.1`));
    assertMatch(await within(early[index]?.readHead() ?? Promise.reject(), "page", WAIT), /^HTTP\/1\.1 200 /);
  }
  for (const socket of early) socket.close();
  server.child.kill("SIGKILL");
  for (const socket of held) (await socket)?.close();
}, notOnWindows);

testBoth(
  "server accepts only as many connections as there are descriptors, and says so at its start",
  async (transport) => {
    const child = start("server.ts", ["--port", "0", "--transport", transport, "--log", "none"], { descriptors: 200 });
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const line = (await within(reader.read(), "first line", WAIT)).value ?? "";
    const url = line.slice("Listening on ".length).trim();
    const held: RawSocket[] = [];
    let head = "";
    while (held.length < 300 && !head.includes(" 503 ")) {
      const socket = await connectRaw(url);
      held.push(socket);
      await socket.write(requestHead());
      head = await within(socket.readHead(), "answer", WAIT);
    }
    assertMatch(head, /^HTTP\/1\.1 503 [^]*retry-after: 5/i);
    assertEquals(await statusLineOf(url, requestHead(PLAIN, "GET /healthz HTTP/1.1")), "HTTP/1.1 200 OK");
    child.kill("SIGKILL");
    const stderr = await new Response(child.stderr).text();
    const [, connections] = /^wsproof: There are descriptors for only (\d+) connections: for 10000, raise .*\n$/
      .exec(stderr) ?? [];
    assertEquals(held.length, Number(connections) + 1);
    for (const socket of held) socket.close();
    await child.status;
    await reader.cancel();
  },
  notOnWindows,
);

Deno.test("server says that it cannot count descriptors without the permission for it", async () => {
  const child = start("server.ts", ["--port", "0", "-q"], { permissions: ["--deny-read=/dev/null"] });
  const reader = child.stdout.getReader();
  await within(reader.read(), "first line", WAIT);
  child.kill("SIGKILL");
  assertEquals(
    await new Response(child.stderr).text(),
    "wsproof: The limit of open files cannot be determined: give --allow-read=/dev/null\n",
  );
  await child.status;
  await reader.cancel();
});

testBoth("server --allow-host answers for those hosts only, and reports others", async (transport) => {
  await using server = await serverProcess(
    ...["--transport", transport, "--log", "json", "--allow-host", "app.example", "--allow-host", "127.0.0.1"],
  );
  assertMatch(await statusLineOf(server.url, requestHead({ Host: "app.example:80" })), / 101 /);
  for (
    const head of [
      requestHead({ Host: "rebound.example" }),
      requestHead({ ...PLAIN, Host: "localhost" }, "GET /metrics HTTP/1.1"),
    ]
  ) {
    assertEquals(await statusLineOf(server.url, head), "HTTP/1.1 421 Misdirected Request");
    const refused = await nextEvent(server, "refused");
    assertEquals([refused.status, refused.cause], [421, "host"]);
  }
  assertStringIncludes(await metricsOf(server.url), '\nwsproof_refusals_total{cause="host"} 2\n');
});

testBoth("server takes hosts from WSPROOF_ALLOW_HOST, and all of them with *", async (transport) => {
  const env = { WSPROOF_TRANSPORT: transport, WSPROOF_ALLOW_HOST: "app.example *" };
  await using server = await serverProcessWith({ env }, "-q");
  assertMatch(await statusLineOf(server.url, requestHead({ Host: "any.example" })), / 101 /);
});

Deno.test("handler answers for any host, or for those of WSPROOF_ALLOW_HOST", async () => {
  const head = requestHead({ Host: "platform.example" });
  await using open = await handlerProcess({ WSPROOF_LOG: "none" });
  assertMatch(await statusLineOf(open.url, head), / 101 /);
  await using closed = await handlerProcess({ WSPROOF_LOG: "none", WSPROOF_ALLOW_HOST: "app.example" });
  assertMatch(await statusLineOf(closed.url, head), / 421 /);
});

for (const host of ["http://app.example", "app.example:80", "a b", "", "[::1", "*.*.example"]) {
  Deno.test(`server says in one line what is wrong with --allow-host ${JSON.stringify(host)}`, async () => {
    const { code, stdout, stderr } = await outcomeOf(start("server.ts", [`--allow-host=${host}`]));
    assertEquals([code, stdout], [2, ""]);
    assertEquals(
      stderr,
      `wsproof: Option --allow-host cannot be "${host}": give a host without a port: app.example, *.app.example, [::1] or *\n`,
    );
  });
}

Deno.test("client without a URL finds the server of this machine, which answers for the loopback names", async () => {
  for (const transport of TRANSPORTS) {
    await using server = await serverProcess("-q", "--transport", transport);
    for (const host of ["127.0.0.1", "localhost"]) {
      const { code, stderr } = await client(["-q", server.url.replace("127.0.0.1", host)]);
      assertEquals([code, stderr], [0, ""]);
    }
  }
});

for (const transport of TRANSPORTS) {
  Deno.test({
    name: `nginx.conf and the server keep /metrics from others, however its path is written (${transport})`,
    ignore: !hasNginx,
    fn: async () => {
      await using server = await serverProcess("-q", "--transport", transport);
      await using nginx = await startNginx([new URL(server.url).host]);
      const { host } = new URL(nginx.url);
      for (
        const target of [
          ...["/metrics", "//metrics", "/./metrics", "/x/../metrics", "/%6detrics", "/%2e/metrics", "/metrics?x"],
          ...[
            "/x\\..\\metrics",
            "/\\metrics",
            "/x/..\\metrics",
            "/metrics/",
            "/metrics/.",
            "/.\\metrics",
            "/x\\../metrics",
          ],
          ...[`http://${host}/metrics`, `http://${host}/x\\..\\metrics`, "/metrics#", "/metrics%5c..%5cmetrics"],
        ]
      ) {
        const socket = await connectRaw(nginx.url);
        await socket.write(requestHead({ ...PLAIN, Host: host, Connection: "close" }, `GET ${target} HTTP/1.1`));
        const answer = new TextDecoder().decode(await within(socket.readToEnd(), "answer", WAIT));
        socket.close();
        assertMatch(answer, /^HTTP\/1\.1 4\d\d /, target);
        assert(!answer.includes("wsproof_connections"), target);
      }
      // The proxy itself works.
      const { code, stderr } = await client(["-q", nginx.url]);
      assertEquals([code, stderr], [0, ""]);
    },
  });
}
