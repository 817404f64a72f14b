/**
 * The lab: a WebSocket peer that misbehaves on request, for testing clients. The path of the URL says, step by step from
 * left to right, what it does.
 *
 * @module
 */

import { accepts } from "@std/http/negotiation";
import { STATUS_CODE } from "@std/http/status";
import { createServer, type Server, type Socket } from "node:net";
import type { EchoEvent } from "./echo_policy.ts";
import { describeAddr, refusalOf, subprotocolOf } from "./gatekeeper.ts";
import { closePayloadFor, LabPeer } from "./lab/peer.ts";
import { describeSteps, LabPathError, listSteps, parseLabPath, type PlannedStep } from "./lab/program.ts";
import { readRequest, sendAnswer, sendResponse } from "./lab/request.ts";
import { LabSocket, PeerGoneError } from "./lab/socket.ts";
import type { HandshakeAnswer } from "./lab/step.ts";
import { acceptKeyFor } from "./protocol/handshake.ts";
import { bindable, inUrl, ListenError, LOOPBACK_ADDRESSES } from "./host.ts";
import type { ListeningServer } from "./serve.ts";
import { DEFAULT_PORT } from "./transport/connection.ts";
import { within } from "./transport/deadline.ts";
import { HEAD_TIMEOUT_MS } from "./transport/wire_server.ts";
import { messageOf } from "./protocol/error.ts";

/** How long a connection of the lab may live unless told otherwise, in milliseconds: 60 s. */
export const DEFAULT_MAX_CONNECTION_MS = 60_000;

/** How many connections the lab has at once; more are dropped. */
export const MAX_CONNECTIONS = 256;

/** Options of {@linkcode serveLab}. */
export interface ServeLabOptions {
  /** The host name or address to listen on; 127.0.0.1 by default. The lab belongs on a loopback address. */
  hostname?: string;
  /** The addresses that the host name stands for, as those of `serveEcho` in `lib/serve.ts`. */
  addresses?: readonly string[];
  /** The port to listen on, 0 for any free one; 6455 by default. */
  port?: number;
  /** How long a connection may live, in milliseconds; 60 s by default. */
  maxConnectionMs?: number;
  /** Told of every connection that opens, once it has asked for steps that exist, and of its end. */
  onEvent?: (event: EchoEvent) => void;
}

export { isLoopback } from "./allowed_host.ts";

/**
 * Starts a lab. A connection takes a bounded amount of memory: a head of 16 KiB, and a few copies of one message of
 * 16 MiB. It lives 60 seconds at most.
 *
 * @param options Where to listen.
 * @returns The lab, which listens already. Its shutdown drops the clients without a close frame, so that none is left.
 * @throws {ListenError} If it cannot listen there, as when the port is taken.
 *
 * @example
 * ```ts
 * import { exchange } from "./exchange.ts";
 * import { serveLab } from "./lab.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const lab = await serveLab({ port: 0 });
 * const report = await exchange(`${lab.url}corrupt`);
 * assertEquals(report.verdict, "wrong-reply");
 * await lab.shutdown();
 * ```
 */
export async function serveLab(options: ServeLabOptions = {}): Promise<ListeningServer> {
  const { hostname = "127.0.0.1", port = DEFAULT_PORT, maxConnectionMs = DEFAULT_MAX_CONNECTION_MS } = options;
  const onEvent = options.onEvent ?? (() => {});
  const shutdown = new AbortController();
  const running = new Set<Promise<void>>();
  let count = 0;
  const { addresses = hostname === "localhost" ? LOOPBACK_ADDRESSES : [hostname] } = options;
  const listeners = await listen(addresses, port, (accepted, url) => {
    if (running.size >= MAX_CONNECTIONS || shutdown.signal.aborted) return void accepted.destroy();
    const visit = new Visit(accepted, url, () => ++count, onEvent);
    const onShutdown = () => visit.drop("Lab is shutting down");
    shutdown.signal.addEventListener("abort", onShutdown);
    const lifetime = setTimeout(() => visit.drop(`Connection is ${maxConnectionMs / 1000} s old`), maxConnectionMs);
    const task = visit.run().finally(() => {
      clearTimeout(lifetime);
      shutdown.signal.removeEventListener("abort", onShutdown);
      running.delete(task);
    });
    running.add(task);
  });
  const urls = listeners.map(urlOf);
  const [url = ""] = urls;
  return {
    url,
    urls,
    async shutdown() {
      const closed = listeners.map((listener) => new Promise((resolve) => listener.close(resolve)));
      shutdown.abort();
      await Promise.all(running);
      await Promise.all(closed);
      return 0;
    },
  };
}

async function listen(
  addresses: readonly string[],
  port: number,
  onConnection: (accepted: Socket, url: string) => void,
): Promise<Server[]> {
  const place = addresses.length > 1 ? bindable(addresses, port) : { addresses, port };
  return await Promise.all(place.addresses.map(async (hostname) => {
    const server = createServer({ allowHalfOpen: true }, (accepted) => onConnection(accepted, urlOf(server)));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    server.once("error", reject);
    server.listen(place.port, hostname, resolve);
    try {
      await promise;
      return server;
    } catch (error) {
      throw new ListenError(hostname, place.port, error);
    }
  }));
}

/** Where a listener listens. */
function urlOf(listener: Server): string {
  const address = listener.address();
  return typeof address === "object" && address !== null ? `ws://${inUrl(address.address)}:${address.port}/` : "";
}

/** One connection, from the request to the end. */
class Visit {
  readonly #url: string;
  readonly #nextId: () => number;
  readonly #onEvent: (event: EchoEvent) => void;
  readonly #dropping = new AbortController();
  readonly #socket: LabSocket;
  readonly #peerAddress: string;

  constructor(accepted: Socket, url: string, nextId: () => number, onEvent: (event: EchoEvent) => void) {
    this.#url = url;
    this.#nextId = nextId;
    this.#onEvent = onEvent;
    const { remoteAddress: hostname = "", remotePort: port = 0 } = accepted;
    this.#peerAddress = describeAddr({ transport: "tcp", hostname, port });
    this.#socket = new LabSocket(accepted, this.#dropping.signal);
  }

  /** Ends it at once, wherever it is. */
  drop(reason: string): void {
    this.#dropping.abort(new Error(reason));
  }

  async run(): Promise<void> {
    try {
      const { request, rest } = await within(readRequest(this.#socket), "request", { timeoutMs: HEAD_TIMEOUT_MS });
      const program = request ? this.#programOf(request) : badRequest();
      if (program instanceof Response) await sendResponse(this.#socket, request, program);
      else if (request) await this.#perform(request, rest, program);
    } catch {
      // The client is gone, or did not ask in time: there is nobody to tell.
    } finally {
      this.#socket.destroy();
    }
  }

  /** The steps that a request asks for, or the answer to one that asks for none. */
  #programOf(request: Request): PlannedStep[] | Response {
    const { pathname } = new URL(request.url);
    const wantsUpgrade = /\bwebsocket\b/i.test(request.headers.get("upgrade") ?? "");
    const isPlain = !wantsUpgrade && /^(GET|HEAD)$/.test(request.method);
    if (isPlain && pathname === "/") return this.#listing(request, STATUS_CODE.OK);
    try {
      const program = parseLabPath(pathname);
      if (!isPlain) return refusalOf(request) ?? program;
      return this.#listing(request, STATUS_CODE.UpgradeRequired, "This path is for a WebSocket: ask for the upgrade");
    } catch (error) {
      if (!(error instanceof LabPathError)) throw error;
      return this.#listing(request, STATUS_CODE.NotFound, error.message);
    }
  }

  #listing(request: Request, status: number, error?: string): Response {
    const headers = {
      "cache-control": "no-store",
      ...(status === STATUS_CODE.UpgradeRequired && {
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
      }),
    };
    if (accepts(request, "text/plain", "application/json") === "application/json") {
      const body = { ...(error !== undefined && { status, error }), steps: listSteps(this.#url) };
      return new Response(`${JSON.stringify(body)}\n`, {
        status,
        headers: { ...headers, "content-type": "application/json" },
      });
    }
    const text = [...(error === undefined ? [] : [error, ""]), describeSteps(this.#url), ""].join("\n");
    return new Response(text, { status, headers: { ...headers, "content-type": "text/plain; charset=utf-8" } });
  }

  async #perform(request: Request, rest: Uint8Array<ArrayBuffer>, program: readonly PlannedStep[]): Promise<void> {
    const since = performance.now();
    const answer = await answerTo(request);
    for (const { step, values } of program) if (step.on === "handshake") step.run(answer, values);
    const { pathname, search } = new URL(request.url);
    const protocol = answer.fields.get("Sec-WebSocket-Protocol") ?? "";
    const who = { id: this.#nextId(), peer: this.#peerAddress };
    this.#onEvent({ type: "opened", ...who, path: pathname + search, protocol });
    const peer = new LabPeer(this.#socket, rest);
    let error = "";
    try {
      await sendAnswer(this.#socket, answer);
      if (answer.then === "open") await converse(peer, program);
      else if (answer.then === "silence") await this.#socket.discard();
      await this.#socket.end();
    } catch (thrown) {
      error = messageOf(thrown);
      if (!(thrown instanceof PeerGoneError)) await this.#fail(peer, thrown);
    }
    const { received, began: sent, messages, bytes } = peer;
    const ms = performance.now() - since;
    this.#onEvent({ type: "closed", ...who, received, sent, error, messages, bytes, ms });
  }

  /** A client that breaks the protocol is told so: the lab is strict where its steps do not say otherwise. */
  async #fail(peer: LabPeer, error: unknown): Promise<void> {
    const payload = closePayloadFor(error);
    if (payload !== undefined && !peer.hasSentClose) await peer.sendClose(payload).catch(() => {});
    await this.#socket.end();
  }
}

function badRequest(): Response {
  return new Response("This is no HTTP/1.1 request with a head of at most 16 KiB.\n", {
    status: STATUS_CODE.BadRequest,
    headers: { "content-type": "text/plain; charset=utf-8" },
  });
}

/** The correct answer, which the steps then change. */
async function answerTo(request: Request): Promise<HandshakeAnswer> {
  const fields = new Map([
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", await acceptKeyFor(request.headers.get("sec-websocket-key") ?? "")],
  ]);
  const protocol = subprotocolOf(request);
  if (protocol !== "") fields.set("Sec-WebSocket-Protocol", protocol);
  return { startLine: "HTTP/1.1 101 Switching Protocols", fields, portion: 1, linePauseMs: 0, then: "open" };
}

/** Runs the steps, then echoes what still comes, and meets the close frame. */
async function converse(peer: LabPeer, program: readonly PlannedStep[]): Promise<void> {
  let meetClose = (): Promise<void> => peer.sendClose(peer.receivedPayload);
  for (const { step, values } of program) if (step.on === "close") meetClose = () => step.run(peer, values);
  for (const { step, values } of program) {
    if (step.on === "turn" && !peer.isOver) await step.run(peer, values);
  }
  if (!peer.isOver) await peer.echo(Infinity);
  if (peer.received && !peer.hasSentClose && !peer.socket.isOver) await meetClose();
}
