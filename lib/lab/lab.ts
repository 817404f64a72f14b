/**
 * The lab: a WebSocket peer that misbehaves on request, for testing clients. The path of the URL says, step by step from
 * left to right, what it does.
 *
 * @module
 */

import { accepts } from "@std/http/negotiation";
import { STATUS_CODE } from "@std/http/status";
import type { Socket } from "node:net";
import type { EchoEvent, RefusalCause } from "../server/policy.ts";
import { describeAddr, handshakeRefusal, MAX_PATH_CHARS, subprotocolOf, viewOf } from "../server/gatekeeper.ts";
import { LabListener, type LabListenerEvents } from "./listener.ts";
import { LAB_BUDGET_BYTES, LabLimitError } from "./load.ts";
import { Pace } from "../peer/pace.ts";
import { closePayload } from "../peer/peer.ts";
import { LabPeer } from "./peer.ts";
import { describeSteps, LabPathError, listSteps, parseLabPath, type PlannedStep } from "./program.ts";
import { type LabRequest, readRequest, sendAnswer, sendResponse } from "./request.ts";
import { PeerGoneError, RawSocket } from "../peer/socket.ts";
import type { HandshakeAnswer } from "./step.ts";
import { isLoopback } from "../server/allowed_host.ts";
import { bindable, inUrl, LOOPBACK_ADDRESSES } from "../net/host.ts";
import { asksForUpgrade, responseFields, SWITCHING } from "../protocol/handshake_server.ts";
import { DEFAULT_SHUTDOWN_TIMEOUT_MS, type ListeningServer } from "../server/serve.ts";
import { MemoryBudget } from "../server/budget.ts";
import { DEFAULT_PORT } from "../connection/connection.ts";
import { within } from "../net/deadline.ts";
import { plainResponse } from "../net/plain_response.ts";
import { HEAD_TIMEOUT_MS } from "../net/reception.ts";
import { messageOf, ProtocolError } from "../protocol/error.ts";

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
  /** How long the head of a request may take, in milliseconds; 10 s by default. */
  headTimeoutMs?: number;
  /**
   * Whether anybody may come, by any name; `false` by default. Otherwise the fields Host and Origin of a request have to
   * name this machine (`localhost`, 127.0.0.0/8 or `::1`): no page of another origin makes a browser use the lab.
   */
  isPublic?: boolean;
  /**
   * Told of every connection that opens, once it has asked for steps that exist, and of its end; of every request that is
   * refused; and of trouble.
   */
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
    headTimeoutMs: options.headTimeoutMs ?? HEAD_TIMEOUT_MS,
    pace: new Pace(),
    budget: new MemoryBudget(LAB_BUDGET_BYTES),
    nextId: () => ++count,
    onEvent: options.onEvent ?? (() => {}),
  };
  const listeners = await listen(addresses, port, {
    onConnection: (accepted) => {
      if (shutdown.signal.aborted) return void accepted.destroy();
      const visit = new Visit(accepted, lab, running.size >= MAX_CONNECTIONS);
      if (running.size >= MAX_CONNECTIONS + MAX_REFUSED) return visit.turnAway();
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
  readonly headTimeoutMs: number;
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
  readonly #socket: RawSocket;
  readonly #peerAddress: string;
  /** Where the client has come, as a WebSocket URL. */
  readonly #url: string;

  constructor(accepted: Socket, lab: Lab, isRefused: boolean) {
    this.#isRefused = isRefused;
    this.#lab = lab;
    const { localAddress = "", localPort = 0, remoteAddress: hostname = "", remotePort: port = 0 } = accepted;
    this.#url = `ws://${inUrl(localAddress)}:${localPort}/`;
    this.#peerAddress = describeAddr({ transport: "tcp", hostname, port });
    this.#socket = new RawSocket(accepted, this.#dropping.signal, lab.pace);
  }

  /** Ends it at once, wherever it is. */
  drop(reason: string): void {
    this.#dropping.abort(new Error(reason));
  }

  /** Ends it without an answer, as there are too many that wait for one. */
  turnAway(): void {
    this.#tellRefused({ ...FULL, status: 0 });
    this.drop("Lab is full");
  }

  async run(): Promise<void> {
    try {
      const request = this.#isRefused ? FULL : await readRequest(this.#socket, this.#lab.headTimeoutMs);
      if ("cause" in request) return await this.#refuse(request);
      const program = this.#programOf(request);
      if (program instanceof Response) await sendResponse(this.#socket, program, request.request.method === "HEAD");
      else if ("cause" in program) await this.#refuse(program, request);
      else await this.#perform(request, program);
    } catch {
      // The client is gone: there is nobody to tell.
    } finally {
      this.#socket.destroy();
    }
  }

  async #refuse(refusal: Refusal, asked?: LabRequest): Promise<void> {
    const { status, reason, accept, fields, response } = refusal;
    this.#tellRefused(refusal, asked);
    if (status === 0) return;
    const answer = response ?? plainResponse(status, reason, { accept, fields });
    await sendResponse(this.#socket, answer, asked?.request.method === "HEAD");
  }

  #tellRefused({ status, cause, reason }: Refusal, asked?: LabRequest): void {
    const path = asked ? shownPath(asked) : "";
    this.#lab.onEvent({ type: "refused", peer: this.#peerAddress, path, status, cause, reason });
  }

  /** The steps that a request asks for, the list of steps, or why there are none. */
  #programOf({ request, version, path }: LabRequest): PlannedStep[] | Response | Refusal {
    const accept = request.headers.get("accept");
    const stranger = this.#lab.isPublic ? undefined : strangerIn(request);
    if (stranger !== undefined) return { ...stranger, accept };
    const view = viewOf(request, version);
    const isPlain = !asksForUpgrade(view) && /^(GET|HEAD)$/.test(request.method);
    if (isPlain && path === "/") return this.#listing(request, STATUS_CODE.OK);
    const cause = isPlain ? "plain-http" : "bad-handshake";
    const refuse = (status: number, reason: string): Refusal => {
      return { status, cause, reason, response: this.#listing(request, status, reason) };
    };
    try {
      const program = parseLabPath(path);
      if (isPlain) return refuse(STATUS_CODE.UpgradeRequired, "This path is for a WebSocket: ask for the upgrade");
      const refusal = handshakeRefusal(view);
      return refusal ? { ...refusal, reason: refusal.text, accept } : program;
    } catch (error) {
      if (!(error instanceof LabPathError)) throw error;
      return refuse(STATUS_CODE.NotFound, error.message);
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

  async #perform(asked: LabRequest, program: readonly PlannedStep[]): Promise<void> {
    const { request, rest } = asked;
    const since = performance.now();
    const answer = answerTo(request);
    for (const { step, values } of program) if (step.on === "handshake") step.run(answer, values);
    const protocol = answer.fields.get("Sec-WebSocket-Protocol") ?? "";
    const who = { id: this.#lab.nextId(), peer: this.#peerAddress };
    this.#lab.onEvent({ type: "opened", ...who, path: shownPath(asked), protocol });
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
    const { messages, bytes } = peer;
    const ms = performance.now() - since;
    this.#lab.onEvent({ type: "closed", ...who, ...peer.closeRecord(error), messages, bytes, ms });
  }

  /** A client that breaks the protocol is told so: the lab is strict where its steps do not say otherwise. */
  async #fail(peer: LabPeer, error: unknown): Promise<void> {
    const isTold = error instanceof ProtocolError || error instanceof LabLimitError;
    if (isTold && peer.canClose) {
      const payload = error instanceof ProtocolError ? peer.answer : closePayload(error.closeCode, error.message);
      await within(peer.sendClose(payload), "close frame", { timeoutMs: LAST_WORD_MS }).catch(() => {});
    }
    peer.release();
    await this.#socket.end();
  }
}

/** Why a connection is answered with something else than its steps. */
interface Refusal {
  readonly status: number;
  readonly cause: RefusalCause;
  readonly reason: string;
  /** The field Accept of the request. */
  readonly accept?: string | null | undefined;
  /** Fields of the answer. */
  readonly fields?: Readonly<Record<string, string>>;
  /** The answer, if not the reason alone. */
  readonly response?: Response;
}

const FULL: Refusal = {
  status: STATUS_CODE.ServiceUnavailable,
  cause: "connections",
  reason: `The lab has as many connections as it takes: ${MAX_CONNECTIONS}.`,
};

function shownPath({ path, search }: LabRequest): string {
  return (path + search).slice(0, MAX_PATH_CHARS);
}

/** Why a request is refused that does not come from this machine as far as its fields tell; `undefined` if it does. */
function strangerIn({ url, headers }: Request): Refusal | undefined {
  const status = STATUS_CODE.Forbidden;
  // The host of an absolute target counts, and so does the field Host beside it (RFC 9112 section 3.2.2).
  const hosts = [url, `http://${headers.get("host") ?? "localhost"}`];
  if (!hosts.every(isLocal)) return { status, cause: "host", reason: FOREIGN_HOST };
  const origin = headers.get("origin");
  if (origin === null || isLocal(origin)) return undefined;
  return { status, cause: "origin", reason: FOREIGN_ORIGIN };
}

const FOREIGN_HOST = "The field Host does not name this machine: use 127.0.0.1, or start the lab with --lab-public.";
const FOREIGN_ORIGIN =
  "The field Origin does not name this machine: serve the page from localhost, or start the lab with --lab-public.";

function isLocal(url: string): boolean {
  return URL.canParse(url) && isLoopback(new URL(url).hostname.replace(/^\[(.*)\]$/, "$1"));
}

/** The correct answer, which the steps then change. */
function answerTo(request: Request): HandshakeAnswer {
  const key = request.headers.get("sec-websocket-key") ?? "";
  const fields = new Map(responseFields(key, subprotocolOf(request)));
  return { startLine: SWITCHING, fields, portion: 1, linePauseMs: 0, then: "open" };
}

/** Runs the steps, then echoes what still comes, and meets the close frame. */
async function converse(peer: LabPeer, program: readonly PlannedStep[]): Promise<void> {
  let meetClose = (): Promise<void> => peer.sendClose(peer.answer);
  for (const { step, values } of program) if (step.on === "close") meetClose = () => step.run(peer, values);
  for (const { step, values } of program) {
    if (step.on === "turn" && !peer.isOver) await step.run(peer, values);
  }
  if (!peer.isOver) await peer.echo(Infinity);
  if (peer.received && !peer.hasSentClose && !peer.socket.isOver) await meetClose();
}
