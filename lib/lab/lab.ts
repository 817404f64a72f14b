/**
 * The lab: a WebSocket peer that misbehaves on request, for testing clients. The path of the URL says, step by step from
 * left to right, what it does.
 *
 * @module
 */

import { accepts } from "@std/http/negotiation";
import { STATUS_CODE } from "@std/http/status";
import type { Socket } from "node:net";
import type { EchoEvent } from "../server/policy.ts";
import { describeAddr, refusalOf, subprotocolOf } from "../server/gatekeeper.ts";
import { LabListener, type LabListenerEvents } from "./listener.ts";
import { LAB_BUDGET_BYTES } from "./load.ts";
import { Pace } from "./pace.ts";
import { closePayloadFor, LabPeer } from "./peer.ts";
import { describeSteps, LabPathError, listSteps, parseLabPath, type PlannedStep } from "./program.ts";
import { readRequest, sendAnswer, sendResponse } from "./request.ts";
import { LabSocket, PeerGoneError } from "./socket.ts";
import type { HandshakeAnswer } from "./step.ts";
import { isLoopback } from "../server/allowed_host.ts";
import { bindable, inUrl, LOOPBACK_ADDRESSES } from "../net/host.ts";
import { acceptKeyFor, isHost } from "../protocol/handshake.ts";
import { DEFAULT_SHUTDOWN_TIMEOUT_MS, type ListeningServer } from "../server/serve.ts";
import { MemoryBudget } from "../server/budget.ts";
import { DEFAULT_PORT } from "../connection/connection.ts";
import { within } from "../net/deadline.ts";
import { HEAD_TIMEOUT_MS } from "../net/wire_server.ts";
import { messageOf } from "../protocol/error.ts";

/** How long a connection of the lab may live unless told otherwise, in milliseconds: 60 s. */
export const DEFAULT_MAX_CONNECTION_MS = 60_000;

/** How many connections the lab has at once; more are refused with 503. */
export const MAX_CONNECTIONS = 256;

/** How many connections are refused at once because there are too many; still more are dropped. */
const MAX_REFUSED = 64;

/** How long a client has to take the close frame that ends a connection out of turn, in milliseconds: 2 s. */
const LAST_WORD_MS = 2000;

/** Options of {@linkcode serveLab}. */
export interface ServeLabOptions {
  /** The host name or address to listen on; 127.0.0.1 by default. The lab belongs on a loopback address. */
  hostname?: string;
  /** The addresses that the host name stands for, as those of `serveEcho` in `lib/server/serve.ts`. */
  addresses?: readonly string[];
  /** The port to listen on, 0 for any free one; 6455 by default. */
  port?: number;
  /** How long a connection may live, in milliseconds; 60 s by default. */
  maxConnectionMs?: number;
  /**
   * Whether anybody may come, by any name; `false` by default. Otherwise the fields Host and Origin of a request have to
   * name this machine (`localhost`, 127.0.0.0/8 or `::1`): no page of another origin makes a browser use the lab.
   */
  isPublic?: boolean;
  /** Told of every connection that opens, once it has asked for steps that exist, and of its end. */
  onEvent?: (event: EchoEvent) => void;
}

export { isLoopback };

/**
 * Starts a lab. It has at most 256 connections, which live 60 seconds at most and work in turns. Their messages hold at
 * most 128 MiB together: the connection that holds the most is closed with 1013. Steps make at most 2^20 frames and 64 MiB of
 * one message, and send at most 2^20 frames and 1 GiB unasked.
 *
 * @param options Where to listen, and for whom.
 * @returns The lab, which listens already. Its shutdown drops the clients without a close frame, so that none is left.
 * @throws {ListenError} If it cannot listen there, as when the port is taken.
 *
 * @example
 * ```ts
 * import { exchange } from "../client/exchange.ts";
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
  const shutdown = new AbortController();
  const running = new Set<Promise<void>>();
  let count = 0;
  const { addresses = hostname === "localhost" ? LOOPBACK_ADDRESSES : [hostname] } = options;
  const lab: Lab = {
    isPublic: options.isPublic ?? false,
    pace: new Pace(),
    budget: new MemoryBudget(LAB_BUDGET_BYTES),
    nextId: () => ++count,
    onEvent: options.onEvent ?? (() => {}),
  };
  const listeners = await listen(addresses, port, {
    onConnection: (accepted) => {
      if (shutdown.signal.aborted) return void accepted.destroy();
      const visit = new Visit(accepted, lab, running.size >= MAX_CONNECTIONS);
      if (running.size >= MAX_CONNECTIONS + MAX_REFUSED) return visit.drop("Lab is full");
      const onShutdown = () => visit.drop("Lab is shutting down");
      shutdown.signal.addEventListener("abort", onShutdown);
      const lifetime = setTimeout(() => visit.drop(`Connection is ${maxConnectionMs / 1000} s old`), maxConnectionMs);
      const task = visit.run().finally(() => {
        clearTimeout(lifetime);
        shutdown.signal.removeEventListener("abort", onShutdown);
        running.delete(task);
      });
      running.add(task);
    },
    onTrouble: (error) => lab.onEvent({ type: "trouble", kind: "accept", error }),
  });
  const urls = listeners.map((listener) => `ws://${inUrl(listener.hostname)}:${listener.port}/`);
  const [url = ""] = urls;
  return {
    url,
    urls,
    async shutdown({ timeoutMs = DEFAULT_SHUTDOWN_TIMEOUT_MS } = {}) {
      const closed = listeners.map((listener) => listener.close());
      shutdown.abort();
      // The turns of connections that were dropped while they waited for one come to nothing.
      const ended = Promise.all([...running, ...closed]).then(() => lab.pace.turn());
      await within(ended, "end of the lab", { timeoutMs }).catch(() => {});
      return 0;
    },
  };
}

/** Listens on every address, with one port. */
async function listen(
  addresses: readonly string[],
  port: number,
  events: LabListenerEvents,
): Promise<LabListener[]> {
  const place = addresses.length > 1 ? bindable(addresses, port) : { addresses, port };
  return await Promise.all(place.addresses.map((hostname) => LabListener.listen(hostname, place.port, events)));
}

/** What the connections of a lab share. */
interface Lab {
  readonly isPublic: boolean;
  readonly pace: Pace;
  readonly budget: MemoryBudget;
  readonly nextId: () => number;
  readonly onEvent: (event: EchoEvent) => void;
}

/** One connection, from the request to the end. */
class Visit {
  readonly #isRefused: boolean;
  readonly #lab: Lab;
  readonly #dropping = new AbortController();
  readonly #socket: LabSocket;
  readonly #peerAddress: string;
  /** Where the client has come, as a WebSocket URL. */
  readonly #url: string;

  constructor(accepted: Socket, lab: Lab, isRefused: boolean) {
    this.#isRefused = isRefused;
    this.#lab = lab;
    const { localAddress = "", localPort = 0, remoteAddress: hostname = "", remotePort: port = 0 } = accepted;
    this.#url = `ws://${inUrl(localAddress)}:${localPort}/`;
    this.#peerAddress = describeAddr({ transport: "tcp", hostname, port });
    this.#socket = new LabSocket(accepted, this.#dropping.signal, lab.pace);
  }

  /** Ends it at once, wherever it is. */
  drop(reason: string): void {
    this.#dropping.abort(new Error(reason));
  }

  async run(): Promise<void> {
    try {
      if (this.#isRefused) return await sendResponse(this.#socket, undefined, plain(FULL_STATUS, FULL));
      const { request, rest } = await within(readRequest(this.#socket), "request", { timeoutMs: HEAD_TIMEOUT_MS });
      const program = request ? this.#programOf(request) : plain(STATUS_CODE.BadRequest, NO_REQUEST);
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
    if (!isHost(request.headers.get("host") ?? "")) return plain(STATUS_CODE.BadRequest, NO_HOST);
    const stranger = this.#lab.isPublic ? undefined : strangerIn(request);
    if (stranger !== undefined) return plain(STATUS_CODE.Forbidden, stranger);
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
    const who = { id: this.#lab.nextId(), peer: this.#peerAddress };
    this.#lab.onEvent({ type: "opened", ...who, path: pathname + search, protocol });
    const peer = new LabPeer(this.#socket, rest, this.#lab.budget);
    let error = "";
    try {
      await sendAnswer(this.#socket, answer);
      if (answer.then === "open") await converse(peer, program);
      else if (answer.then === "silence") await this.#socket.discard();
      await this.#socket.end();
    } catch (thrown) {
      error = messageOf(thrown);
      if (!(thrown instanceof PeerGoneError)) await this.#fail(peer, thrown);
    } finally {
      peer.release();
    }
    const { received, began: sent, messages, bytes } = peer;
    const ms = performance.now() - since;
    const initiator = sent ? "local" : received ? "peer" : null;
    const end = received ? "close-frame" : "no-close-frame";
    const record = { sent, received, initiator, end, tcp: "not-known", detail: error } as const;
    this.#lab.onEvent({ type: "closed", ...who, ...record, messages, bytes, ms });
  }

  /** A client that breaks the protocol is told so: the lab is strict where its steps do not say otherwise. */
  async #fail(peer: LabPeer, error: unknown): Promise<void> {
    const payload = closePayloadFor(error);
    if (payload !== undefined && peer.canClose) {
      await within(peer.sendClose(payload), "close frame", { timeoutMs: LAST_WORD_MS }).catch(() => {});
    }
    peer.release();
    await this.#socket.end();
  }
}

const FULL_STATUS = STATUS_CODE.ServiceUnavailable;
const FULL = `The lab has as many connections as it takes: ${MAX_CONNECTIONS}.`;
const NO_REQUEST = "This is no HTTP/1.1 request with a head of at most 16 KiB.";
const NO_HOST = "The field Host is missing, or not a host.";

function plain(status: number, text: string): Response {
  return new Response(`${text}\n`, {
    status,
    headers: { "cache-control": "no-store", "content-type": "text/plain; charset=utf-8" },
  });
}

/** Why a request is refused that does not come from this machine as far as its fields tell; `undefined` if it does. */
function strangerIn({ headers }: Request): string | undefined {
  if (!isLocal(`http://${headers.get("host") ?? ""}`)) {
    return "The field Host does not name this machine: use 127.0.0.1, or start the lab with --lab-public.";
  }
  const origin = headers.get("origin");
  if (origin === null || isLocal(origin)) return undefined;
  return "The field Origin does not name this machine: serve the page from localhost, or start the lab with --lab-public.";
}

function isLocal(url: string): boolean {
  return URL.canParse(url) && isLoopback(new URL(url).hostname.replace(/^\[(.*)\]$/, "$1"));
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
