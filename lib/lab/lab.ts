/**
 * The lab: a WebSocket peer that misbehaves on request, to test clients. The path of the URL lists its steps, from left
 * to right.
 *
 * @module
 */

import { STATUS_CODE } from "@std/http/status";
import type { CheckReport } from "../check/report.ts";
import { DEFAULT_SHUTDOWN_TIMEOUT_MS, type EchoEvent, type EchoRefused } from "../server/policy.ts";
import { describeAddr, MAX_PATH_CHARS } from "../server/gatekeeper.ts";
import { answerTo, handshakeRefusal, type Refusal, subprotocolOf, viewOf } from "../server/handshake_refusal.ts";
import { LabListener } from "./listener.ts";
import { listing } from "./listing.ts";
import { LAB_BUDGET_BYTES, LabLimitError } from "./load.ts";
import { closePayload } from "../peer/frame.ts";
import type { CaseSet } from "./client_case.ts";
import { MirrorQueryError, type MirrorRequest, parseMirrorRequest } from "./mirror_request.ts";
import { DEFAULT_SILENCE_MS, type MirrorEnd, MirrorVisit } from "./mirror_visit.ts";
import { LabPeer } from "./peer.ts";
import { reportsResponse } from "./reports.ts";
import { Scoreboard } from "./scoreboard.ts";
import { LabPathError, parseLabPath, type PlannedStep } from "./program.ts";
import { sendAnswer } from "./answer.ts";
import { PeerGoneError, RawSocket } from "../peer/socket.ts";
import type { HandshakeAnswer } from "./step.ts";
import { isLoopback } from "../server/allowed_host.ts";
import { bindable, inUrl, LOOPBACK_ADDRESSES } from "../net/host.ts";
import {
  asksForUpgrade,
  offeredExtensions,
  responseFields,
  SWITCHING,
  verifyRequest,
} from "../protocol/handshake_server.ts";
import type { ListeningServer } from "../server/serve.ts";
import { MemoryBudget } from "../server/budget.ts";
import { DEFAULT_PORT } from "../connection/connection.ts";
import { within } from "../net/deadline.ts";
import { Turns, untilEvents } from "../net/turns.ts";
import type { HeadRequest } from "../net/request.ts";
import type { Decision, WireConnection, WireHandler, WireUpgrade } from "../net/wire_handler.ts";
import { HEAD_TIMEOUT_MS, type HeadRefusal, WireServer } from "../net/wire_server.ts";
import { messageOf, ProtocolError } from "../protocol/error.ts";

/** Default lifetime of a lab connection after its request, in milliseconds: 60 s. */
export const DEFAULT_MAX_CONNECTION_MS = 60_000;

/** Concurrent connections of the lab: 256; more are refused with 503. */
export const MAX_CONNECTIONS = 256;

/** Concurrent connections that run cases: 64; more are refused with 503. */
export const MAX_RUNS = 64;

/** Concurrent refusals beyond the limit: 64; still more connections are dropped. */
const MAX_REFUSED = 64;

/** Deadline for a client to take an early close frame, in milliseconds: 2 s. */
const LAST_WORD_MS = 2000;

/** Options of {@linkcode serveLab}. */
export interface ServeLabOptions {
  /** The host name or address to listen on, best a loopback address; 127.0.0.1 by default. */
  hostname?: string;
  /** The addresses of the host name, as for `serveEcho` in `lib/server/serve.ts`. */
  addresses?: readonly string[];
  /** The port to listen on, 0 for any free one; 6455 by default. */
  port?: number;
  /** Lifetime of a connection after its request, in milliseconds; 60 s by default. */
  maxConnectionMs?: number;
  /** Deadline for a request head, in milliseconds; 10 s by default, at most `maxConnectionMs`. */
  headTimeoutMs?: number;
  /**
   * Whether any Host and Origin is allowed; `false` by default. Otherwise both fields must name this machine
   * (`localhost`, 127.0.0.0/8 or `::1`), so that no page of another origin makes a browser use the lab.
   */
  isPublic?: boolean;
  /**
   * Receives an event for each connection that opens with valid steps and for its end, for each refused request, and
   * for trouble.
   */
  onEvent?: (event: EchoEvent) => void;
}

/** Options of {@linkcode startLab}. */
export interface StartLabOptions extends ServeLabOptions {
  /** The longest silence of a client in a case before it is late, in milliseconds; 5 s by default. */
  silenceMs?: number;
  /** The cases that harnesses count: all by default, or Autobahn's, whose handshakes all succeed. */
  cases?: CaseSet;
  /** Receives the results before a client gets its reports. It must not throw. */
  onReports?: (reports: readonly CheckReport[]) => Promise<void>;
}

/** A running lab. */
export interface LabServer extends ListeningServer {
  /**
   * Reports the case results of all clients, once no case is pending.
   *
   * @returns A report for each agent, the latest last.
   */
  reports(): Promise<CheckReport[]>;
}

/**
 * Starts a lab. It has at most 256 connections, which take turns and live at most 60 seconds after their request. Their
 * messages hold at most 128 MiB together, or the largest holder is closed with 1013. Steps make at most 2^20 frames and
 * 64 MiB of one message, and send at most 2^20 frames and 1 GiB unasked.
 *
 * @param options The address and the limits.
 * @returns The running lab. Its shutdown drops the clients without a close frame, so that none is left.
 * @throws {ListenError} If listening fails, as when the port is taken.
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
  return await startLab(options);
}

/**
 * Starts a lab, as {@linkcode serveLab} does, and reports on its clients.
 *
 * @param options The address and the limits.
 * @returns The lab.
 * @throws {ListenError} If it cannot listen there.
 */
export async function startLab(options: StartLabOptions = {}): Promise<LabServer> {
  const { hostname = "127.0.0.1", port = DEFAULT_PORT, maxConnectionMs = DEFAULT_MAX_CONNECTION_MS } = options;
  const { addresses = hostname === "localhost" ? LOOPBACK_ADDRESSES : [hostname] } = options;
  const lab = new Lab(options, maxConnectionMs);
  const place = addresses.length > 1 ? bindable(addresses, port) : { addresses, port };
  const listeners = await Promise.all(place.addresses.map((each) => LabListener.listen(each, place.port, lab.turns)));
  const headTimeoutMs = Math.min(options.headTimeoutMs ?? HEAD_TIMEOUT_MS, maxConnectionMs);
  for (const listener of listeners) {
    lab.servers.push(new WireServer({ ...listener.addr, listener, headTimeoutMs }, lab));
  }
  const urls = listeners.map(({ addr }) => `ws://${inUrl(addr.hostname)}:${addr.port}/`);
  const [url = ""] = urls;
  return {
    url,
    urls,
    async reports() {
      await lab.board.settled();
      return lab.reports();
    },
    async shutdown({ timeoutMs = DEFAULT_SHUTDOWN_TIMEOUT_MS } = {}) {
      const stopped = Promise.all(lab.servers.map((server) => server.stop("Lab is shutting down")));
      // The pending turns of dropped connections come to nothing.
      const ended = stopped.then(untilEvents);
      await within(ended, "end of the lab", { timeoutMs }).catch(() => {});
      return 0;
    },
  };
}

/** The lab's handler: admits clients, and holds the shared state of all connections. */
class Lab implements WireHandler {
  readonly answersItself = true;
  readonly servers: WireServer[] = [];
  readonly maxConnectionMs: number;
  readonly silenceMs: number;
  readonly cases: CaseSet;
  readonly #onReports: (reports: readonly CheckReport[]) => Promise<void>;
  readonly onEvent: (event: EchoEvent) => void;
  readonly turns = new Turns();
  readonly budget = new MemoryBudget(LAB_BUDGET_BYTES);
  readonly board = new Scoreboard();
  /** The cases of each request. */
  readonly #asked = new WeakMap<HeadRequest, Asked>();
  #runs = 0;
  readonly #isPublic: boolean;
  #opened = 0;

  constructor(options: StartLabOptions, maxConnectionMs: number) {
    const { isPublic = false, onEvent = () => {}, silenceMs = DEFAULT_SILENCE_MS, cases = "all" } = options;
    this.cases = cases;
    this.#onReports = options.onReports ?? (() => Promise.resolve());
    this.#isPublic = isPublic;
    this.silenceMs = silenceMs;
    this.onEvent = onEvent;
    this.maxConnectionMs = maxConnectionMs;
  }

  nextId(): number {
    return ++this.#opened;
  }

  reports(): CheckReport[] {
    return this.board.agents.map((agent) => agent.report());
  }

  onAccept(): HeadRefusal | undefined {
    const connections = this.servers.reduce((sum, server) => sum + server.connections, 0);
    if (connections < MAX_CONNECTIONS) return undefined;
    return connections < MAX_CONNECTIONS + MAX_REFUSED ? FULL : { ...FULL, status: 0 };
  }

  /** Refuses a request, lists the steps, or admits a client with valid steps. */
  decide(request: HeadRequest, addr: Deno.Addr, target: string, version: string): Decision {
    const refuse = ({ status, cause, text, ...refusal }: Refusal, response?: Response): Response => {
      this.onRefused(addr, { status, cause, reason: text }, shownPath(target));
      return response ?? answerTo(request, { status, cause, text, ...refusal });
    };
    const stranger = this.#isPublic ? undefined : strangerIn(request);
    if (stranger !== undefined) return refuse(stranger);
    const view = viewOf(request, version);
    const isPlain = !asksForUpgrade(view) && /^(GET|HEAD)$/.test(request.method);
    const { path, search } = partsOf(target);
    if (isPlain && path === "/") {
      return listing(request, this.board, { path: new URLSearchParams(search).get("path") ?? "" });
    }
    if (!isPlain && !asksForUpgrade(view) && /^\/reports(\/|$)/.test(path)) return refuse(ONLY_GET);
    const report = isPlain ? reportsResponse(request, this.board, path, search) : undefined;
    if (report) return report;
    try {
      const asked = isPlain ? undefined : parseMirrorRequest(path, search);
      // The cases judge the request too: a wrong one is upgraded, if it asks for that.
      if (asked && asksForUpgrade(view)) {
        if (asked.do === "runCase" && this.#runs >= MAX_RUNS) return refuse(BUSY);
        this.#asked.set(request, { asked, requestProblem: verifyRequest(view)?.text });
        return subprotocolOf(request);
      }
      if (!asked) parseLabPath(path);
    } catch (error) {
      if (error instanceof MirrorQueryError) {
        return refuse({ status: STATUS_CODE.NotFound, cause: "no-such-path", text: error.message });
      }
      if (!(error instanceof LabPathError)) throw error;
      const status = STATUS_CODE.NotFound;
      return refuse(
        { status, cause: "no-such-path", text: error.message },
        listing(request, this.board, { status, problem: error.message, path }),
      );
    }
    if (isPlain) {
      const [status, text] = [STATUS_CODE.UpgradeRequired, "This path is for a WebSocket: ask for the upgrade"];
      return refuse(
        { status, cause: "plain-http", text },
        listing(request, this.board, { status, problem: text, path }),
      );
    }
    const refusal = handshakeRefusal(view);
    return refusal ? refuse(refusal) : subprotocolOf(request);
  }

  serve(upgrade: WireUpgrade): WireConnection {
    const asked = this.#asked.get(upgrade.request);
    return asked ? this.#serveCase(upgrade, asked) : new Visit(this, upgrade);
  }

  #serveCase(upgrade: WireUpgrade, asked: Asked): WireConnection {
    const who = { id: this.nextId(), peer: describeAddr(upgrade.addr) };
    const { board, budget, maxConnectionMs, silenceMs, cases } = this;
    const onUpdate = () => this.#onReports(this.reports());
    const onEnd = (end: MirrorEnd) => this.onEvent({ type: "closed", ...who, ...end });
    const visit = new MirrorVisit(upgrade, {
      ...asked,
      board,
      budget,
      maxConnectionMs,
      silenceMs,
      cases,
      onUpdate,
      onEnd,
    });
    this.onEvent({ type: "opened", ...who, path: shownPath(upgrade.target), protocol: upgrade.protocol });
    if (asked.asked.do === "runCase") {
      this.#runs++;
      visit.ended.then(() => this.#runs--);
    }
    return visit;
  }

  onRefused(addr: Deno.Addr, refusal: Omit<EchoRefused, "type" | "peer" | "path">, path = ""): void {
    this.onEvent({ type: "refused", peer: describeAddr(addr), path, ...refusal });
  }

  onTrouble(error: string): void {
    this.onEvent({ type: "trouble", kind: "accept", error });
  }
}

/** A request for cases. */
interface Asked {
  readonly asked: MirrorRequest;
  readonly requestProblem: string | undefined;
}

const ONLY_GET: Refusal = {
  status: STATUS_CODE.MethodNotAllowed,
  cause: "method",
  text: "Reports are for GET and HEAD.",
  fields: { allow: "GET, HEAD" },
};

const BUSY: Refusal = {
  status: STATUS_CODE.ServiceUnavailable,
  cause: "connections",
  text: `The lab has reached its limit of ${MAX_RUNS} running cases.`,
};

/** One connection, from the answer to its handshake to the end. */
class Visit implements WireConnection {
  readonly ended: Promise<void>;
  readonly #lab: Lab;
  readonly #upgrade: WireUpgrade;
  readonly #socket: RawSocket;
  readonly #end = Promise.withResolvers<void>();
  readonly #since = performance.now();

  constructor(lab: Lab, upgrade: WireUpgrade) {
    if (!(upgrade.stream instanceof RawSocket)) throw new TypeError("Connection is none of the lab's listener");
    this.ended = this.#end.promise;
    this.#lab = lab;
    this.#upgrade = upgrade;
    this.#socket = upgrade.stream;
  }

  async run(early: Uint8Array): Promise<void> {
    const { request, target, protocol, addr } = this.#upgrade;
    const program = parseLabPath(partsOf(target).path);
    const key = request.headers.get("sec-websocket-key") ?? "";
    const fields = new Map(responseFields(key, protocol));
    // The steps change this correct answer.
    const offers = offeredExtensions(viewOf(request)) ?? [];
    const whole = { portion: 1, linePauseMs: 0, then: "open" } as const;
    const answer: HandshakeAnswer = { startLine: SWITCHING, fields, offers, deflate: undefined, ...whole };
    for (const { step, values } of program) if (step.on === "handshake") step.run(answer, values);
    const who = { id: this.#lab.nextId(), peer: describeAddr(addr) };
    const answered = fields.get("Sec-WebSocket-Protocol") ?? "";
    this.#lab.onEvent({ type: "opened", ...who, path: shownPath(target), protocol: answered });
    const peer = new LabPeer(this.#socket, early.slice(), this.#lab.budget, answer.deflate);
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
      this.destroy();
      this.#end.resolve();
    }
    const { messages, bytes } = peer;
    const ms = performance.now() - this.#since;
    this.#lab.onEvent({ type: "closed", ...who, ...peer.closeRecord(error), messages, bytes, ms });
  }

  tick(now: number): void {
    const { maxConnectionMs } = this.#lab;
    if (now - this.#since >= maxConnectionMs) this.destroy(`Connection is ${maxConnectionMs / 1000} s old`);
  }

  close(_code: number, reason: string): void {
    this.destroy(reason);
  }

  destroy(error?: string): void {
    this.#socket.close(error);
  }

  /** Closes with the code of the breach: the lab is strict except for its steps. */
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

const FULL: HeadRefusal = {
  status: STATUS_CODE.ServiceUnavailable,
  cause: "connections",
  reason: `The lab has reached its limit of ${MAX_CONNECTIONS} connections.`,
};

/**
 * The path of a target as sent, but with bytes above 7F percent-encoded, and the query with its question mark. A URL
 * would interpret dots, a backslash and a number sign.
 */
function partsOf(target: string): { path: string; search: string } {
  const escaped = target.replace(/[\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`);
  const [, path = "", search = ""] = /^(?:https?:\/\/[^/?]*)?([^?]*)(.*)$/i.exec(escaped) ?? [];
  return { path: path || "/", search };
}

function shownPath(target: string): string {
  const { path, search } = partsOf(target);
  return (path + search).slice(0, MAX_PATH_CHARS);
}

/** The refusal of a request whose fields do not name this machine; otherwise `undefined`. */
function strangerIn({ url, headers }: HeadRequest): Refusal | undefined {
  const status = STATUS_CODE.Forbidden;
  // Both the host of an absolute target and the field Host count (RFC 9112 section 3.2.2).
  const hosts = [url, `http://${headers.get("host") ?? "localhost"}`];
  if (!hosts.every(isLocal)) return { status, cause: "host", text: FOREIGN_HOST };
  const origin = headers.get("origin");
  return origin === null || isLocal(origin) ? undefined : { status, cause: "origin", text: FOREIGN_ORIGIN };
}

const FOREIGN_HOST = "The field Host does not name this machine: use 127.0.0.1, or start the lab with --lab-public.";
const FOREIGN_ORIGIN =
  "The field Origin does not name this machine: serve the page from localhost, or start the lab with --lab-public.";

function isLocal(url: string): boolean {
  return URL.canParse(url) && isLoopback(new URL(url).hostname.replace(/^\[(.*)\]$/, "$1"));
}

/** Runs the steps, echoes the remaining messages, and answers the close frame. */
async function converse(peer: LabPeer, program: readonly PlannedStep[]): Promise<void> {
  let meetClose = (): Promise<void> => peer.sendClose(peer.answer);
  for (const { step, values } of program) if (step.on === "close") meetClose = () => step.run(peer, values);
  for (const { step, values } of program) {
    if (step.on === "turn" && !peer.isOver) await step.run(peer, values);
  }
  if (!peer.isOver) await peer.echo(Infinity);
  if (peer.received && !peer.hasSentClose && !peer.socket.isOver) await meetClose();
}
