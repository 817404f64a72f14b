/** Our ends of compressed connections beside other implementations, with every set of parameters that both accept. */

import { type WebSocket as NpmSocket, WebSocket as WsClient, WebSocketServer } from "npm:ws@8.23.0";
import { openWire } from "../../../lib/connection/wire.ts";
import type { DeflateParameters } from "../../../lib/protocol/deflate.ts";
import type { DeflatePolicy } from "../../../lib/server/policy.ts";
import { serveEcho } from "../../../lib/server/serve.ts";
import { startCommand } from "../../support.ts";
import { within } from "../harness.ts";
import { drive, randomOf } from "./driver.js";

/** Correct echoes, and the negotiated parameters. */
export interface Figures {
  readonly messages: number;
  readonly bytes: number;
  readonly extensions: string;
}

/** One of our ends beside another's. */
export interface Relation {
  readonly peer: "ws" | "python" | "chromium" | "bun";
  /** The two ends and the parameters. */
  readonly name: string;
  /** Sends this many random messages, and compares the echoes; fails at the first difference. */
  run(count: number, seed: number): Promise<Figures>;
}

const HERE = new URL(".", import.meta.url).pathname;
const PYTHON = "/usr/bin/python3";
const WAIT = { timeoutMs: 60_000 };

/** Deadline for this many messages on a busy machine, in milliseconds. */
const deadlineMs = (count: number) => 60_000 + 50 * count;

/** Our client beside the echo at a URL. */
async function driveOurs(url: string, deflate: DeflateParameters, count: number, seed: number): Promise<Figures> {
  // A new fragment size per connection: large enough that 1 MiB makes at most 16,384, as ws takes more for an attack.
  const fragmentBytes = Math.floor(2 ** (7 + 11 * randomOf(seed)()));
  const connection = await openWire(url, { deflate, fragmentBytes, ...WAIT });
  const { extensions = "" } = connection;
  try {
    const driving = drive(
      {
        send: (message: string | Uint8Array<ArrayBuffer>) => connection.send(message, WAIT),
        onMessage: (take: (message: string | Uint8Array) => void) => {
          (async () => {
            for await (const message of connection) take(message);
          })();
        },
      },
      count,
      seed,
    );
    const gone = connection.closed.then(({ detail }) =>
      Promise.reject(new Error(`The connection has ended: ${detail}`))
    );
    gone.catch(() => {});
    const figures = await within(Promise.race([driving, gone]), "the echoes", deadlineMs(count));
    await connection.close({ timeoutMs: 10_000 });
    return { ...figures, extensions };
  } catch (error) {
    const { detail } = await connection.close({ timeoutMs: 1000 });
    throw new Error(`${error}; ${detail}`);
  }
}

/** Runs against our own server. */
async function withServer<T>(deflate: DeflatePolicy, run: (url: string) => Promise<T>): Promise<T> {
  const server = serveEcho({ transport: "wire", port: 0, deflate });
  try {
    return await run(server.url);
  } finally {
    await server.shutdown({ timeoutMs: 2000 });
  }
}

/** Our client beside the echo of npm ws. */
async function toWs(perMessageDeflate: object, deflate: DeflateParameters, count: number, seed: number) {
  const server = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate });
  await new Promise((resolve) => server.once("listening", resolve));
  server.on("connection", (socket: NpmSocket) => {
    socket.on("error", () => {});
    socket.on("message", (data: unknown, binary: boolean) => socket.send(data, { binary }));
  });
  try {
    return await driveOurs(`ws://127.0.0.1:${server.address().port}/`, deflate, count, seed);
  } finally {
    for (const socket of server.clients) socket.terminate();
    await new Promise((resolve) => server.close(resolve));
  }
}

/** The client of npm ws beside our echo; it fragments some messages. */
async function driveWs(url: string, perMessageDeflate: object, count: number, seed: number): Promise<Figures> {
  const socket = new WsClient(url, { perMessageDeflate });
  await within(new Promise((resolve) => socket.once("open", resolve)), "the connection of ws", WAIT.timeoutMs);
  const random = randomOf(seed ^ 0x5555);
  const failed = new Promise<never>((_, reject) => {
    socket.on("error", reject);
    socket.on("close", (code: number, reason: Uint8Array) => reject(new Error(`ws was closed with ${code} ${reason}`)));
  });
  const figures = await within(
    Promise.race([
      failed,
      drive(
        {
          send: (message: string | Uint8Array) => {
            const binary = typeof message !== "string";
            const cuts = random() < 0.3 ? 1 + Math.floor(random() * 4) : 0;
            const length = message.length;
            let at = 0;
            for (let cut = 0; cut < cuts; cut++) {
              const end = at + Math.floor(random() * (length - at));
              // Half of a surrogate pair is no text.
              const part = message.slice(at, end);
              if (typeof part === "string" && !part.isWellFormed()) continue;
              socket.send(part, { binary, fin: false });
              at = end;
            }
            socket.send(message.slice(at), { binary });
          },
          onMessage: (take: (message: string | Uint8Array) => void) =>
            socket.on(
              "message",
              (data: Uint8Array, binary: boolean) =>
                take(binary ? new Uint8Array(data) : new TextDecoder("utf-8", { ignoreBOM: true }).decode(data)),
            ),
        },
        count,
        seed,
      ),
    ]),
    "the echoes",
    deadlineMs(count),
  );
  const { extensions } = socket;
  socket.removeAllListeners("close");
  const closed = new Promise((resolve) => socket.once("close", resolve));
  socket.close(1000);
  await within(closed, "the end of ws", WAIT.timeoutMs);
  return { ...figures, extensions };
}

/** Runs a client in another language, which prints its figures. */
async function driveCommand(command: string, args: readonly string[], count: number): Promise<Figures> {
  const signal = AbortSignal.timeout(deadlineMs(count));
  const child = new Deno.Command(command, { args: [...args], stdin: "null", signal });
  const { success, stdout, stderr } = await child.output();
  if (!success) throw new Error(new TextDecoder().decode(stderr).trim().split("\n").slice(-3).join(" | "));
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Our client beside an echo in another language. */
async function toCommand(
  command: string,
  args: readonly string[],
  deflate: DeflateParameters,
  count: number,
  seed: number,
): Promise<Figures> {
  await using server = await startCommand(command, args);
  return await driveOurs(server.url, deflate, count, seed);
}

const CHROMIUM = "/usr/bin/chromium";

/** Chromium beside our echo: a page runs the driver and posts its result. */
async function driveChromium(url: string, count: number, seed: number): Promise<Figures> {
  const report = Promise.withResolvers<Figures & { readonly error?: string }>();
  const driver = await Deno.readTextFile(`${HERE}driver.js`);
  const page = `<!doctype html><script type="module">
    import { driveWebSocket } from "/driver.js";
    const found = await driveWebSocket(${
    JSON.stringify(url)
  }, ${count}, ${seed}).catch((error) => ({ error: String(error) }));
    await fetch("/report", { method: "POST", body: JSON.stringify(found) });
  </script>`;
  const site = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
    if (request.method === "POST") report.resolve(await request.json());
    const isDriver = new URL(request.url).pathname === "/driver.js";
    const headers = { "content-type": isDriver ? "text/javascript; charset=utf-8" : "text/html; charset=utf-8" };
    return new Response(isDriver ? driver : page, { headers });
  });
  const profile = await Deno.makeTempDir();
  const process = new Deno.Command(CHROMIUM, {
    args: [
      ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
      ...["--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update"],
      ...[`--user-data-dir=${profile}`, `http://127.0.0.1:${site.addr.port}/`],
    ],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  try {
    const { error, ...figures } = await within(report.promise, "Chromium", 60_000 + deadlineMs(count));
    if (error !== undefined) throw new Error(error);
    return figures;
  } finally {
    process.kill("SIGKILL");
    await process.status;
    await site.shutdown();
    // Chromium's child processes may still be writing for a moment.
    await Deno.remove(profile, { recursive: true }).catch(() => {});
  }
}

const NO_TAKEOVER = { serverNoContextTakeover: true, clientNoContextTakeover: true };
const ANY_WINDOW: DeflateParameters = { clientMaxWindowBits: true };

/** Options of the server of ws, and our client's offer. */
const WS_SERVERS: [options: object, offer: DeflateParameters][] = [
  [{ threshold: 0 }, {}],
  [{}, ANY_WINDOW],
  [{ threshold: 0, ...NO_TAKEOVER }, {}],
  [{ threshold: 0, serverNoContextTakeover: true }, ANY_WINDOW],
  [{ threshold: 0, clientNoContextTakeover: true }, {}],
  [{ threshold: 0 }, { ...NO_TAKEOVER, serverMaxWindowBits: 9, clientMaxWindowBits: 9 }],
  [{ threshold: 0, serverMaxWindowBits: 10, clientMaxWindowBits: 9 }, { ...ANY_WINDOW, serverMaxWindowBits: 12 }],
  [{ threshold: 0, serverMaxWindowBits: 15, clientMaxWindowBits: 15, zlibDeflateOptions: { level: 9 } }, {
    ...ANY_WINDOW,
    serverMaxWindowBits: 15,
  }],
];

/** Settings of our server, and options of the client of ws. */
const WS_CLIENTS: [policy: DeflatePolicy, options: object][] = [
  [{}, { threshold: 0 }],
  [{ windowBits: 15, level: 6, memoryLevel: 8 }, { threshold: 0 }],
  [{ windowBits: 9, level: 1, memoryLevel: 1 }, { threshold: 0 }],
  [{ takeover: false, thresholdBytes: 0 }, { threshold: 0 }],
  [{ thresholdBytes: 0 }, { threshold: 0, ...NO_TAKEOVER }],
  [{}, { threshold: 0, serverMaxWindowBits: 9, clientMaxWindowBits: 9 }],
  [{}, { threshold: 0, clientMaxWindowBits: false, serverNoContextTakeover: true }],
];

/** Parameters of Python's factories, and our client's offer. */
const PYTHON_SERVERS: [parameters: object, offer: DeflateParameters][] = [
  [{}, {}],
  [{ server_no_context_takeover: true, client_no_context_takeover: true }, ANY_WINDOW],
  [{ server_max_window_bits: 10, client_max_window_bits: 9 }, { ...ANY_WINDOW, serverMaxWindowBits: 12 }],
  [{}, { ...NO_TAKEOVER, serverMaxWindowBits: 9, clientMaxWindowBits: 9 }],
];
const PYTHON_CLIENTS: [policy: DeflatePolicy, parameters: object][] = [
  [{}, { client_max_window_bits: true }],
  [{}, {}],
  [{ windowBits: 15 }, { server_max_window_bits: 9, client_max_window_bits: 10 }],
  [{ takeover: false, thresholdBytes: 0 }, { client_max_window_bits: true }],
  [{}, { server_no_context_takeover: true, client_no_context_takeover: true }],
];

const shown = (value: object) => JSON.stringify(value).replaceAll('"', "");

/**
 * Every relation.
 *
 * @param bun The executable of Bun; without it, no relation has Bun.
 */
export function relations(bun?: string): Relation[] {
  const peer = `${HERE}peer.py`;
  const bunServers = bun === undefined ? [] : [{}, ANY_WINDOW, NO_TAKEOVER];
  const bunClients: DeflatePolicy[] = bun === undefined ? [] : [{}, { windowBits: 15 }, { takeover: false }];
  return [
    ...WS_SERVERS.map(([options, offer]): Relation => ({
      peer: "ws",
      name: `our client offers ${shown(offer)} to ws with ${shown(options)}`,
      run: (count, seed) => toWs(options, offer, count, seed),
    })),
    ...WS_CLIENTS.map(([policy, options]): Relation => ({
      peer: "ws",
      name: `our server with ${shown(policy)} and ws with ${shown(options)}`,
      run: (count, seed) => withServer(policy, (url) => driveWs(url, options, count, seed)),
    })),
    ...PYTHON_SERVERS.map(([parameters, offer]): Relation => ({
      peer: "python",
      name: `our client offers ${shown(offer)} to websockets with ${shown(parameters)}`,
      run: (count, seed) => toCommand(PYTHON, [peer, "serve", JSON.stringify(parameters)], offer, count, seed),
    })),
    ...PYTHON_CLIENTS.map(([policy, parameters]): Relation => ({
      peer: "python",
      name: `our server with ${shown(policy)} and websockets with ${shown(parameters)}`,
      run: (count, seed) =>
        withServer(
          policy,
          (url) =>
            driveCommand(PYTHON, [peer, "connect", JSON.stringify(parameters), url, `${count}`, `${seed}`], count),
        ),
    })),
    ...[{}, { windowBits: 9 }, { takeover: false, thresholdBytes: 0 }].map((policy: DeflatePolicy): Relation => ({
      peer: "chromium",
      name: `our server with ${shown(policy)} and Chromium`,
      run: (count, seed) => withServer(policy, (url) => driveChromium(url, count, seed)),
    })),
    ...bunServers.map((offer: DeflateParameters): Relation => ({
      peer: "bun",
      name: `our client offers ${shown(offer)} to Bun`,
      run: (count, seed) => toCommand(bun ?? "", [`${HERE}bun_server.js`], offer, count, seed),
    })),
    ...bunClients.map((policy): Relation => ({
      peer: "bun",
      name: `our server with ${shown(policy)} and Bun`,
      run: (count, seed) =>
        withServer(
          policy,
          (url) => driveCommand(bun ?? "", [`${HERE}bun_client.js`, url, `${count}`, `${seed}`], count),
        ),
    })),
  ];
}
