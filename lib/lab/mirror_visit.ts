/**
 * One connection of a client that runs or queries cases.
 *
 * @module
 */

import type { AnswerEdit, CaseSet, ClientCase } from "./client_case.ts";
import { caseCountOf } from "./mirror_cases.ts";
import type { MirrorRequest } from "./mirror_request.ts";
import { MAX_MASKS, type Scoreboard } from "./scoreboard.ts";
import { behaviorOf } from "../check/autobahn.ts";
import type { HandshakeAnswer, Judgement, Plan } from "../check/case.ts";
import { judge, leveled } from "../check/judge.ts";
import type { CaseResult } from "../check/run_case.ts";
import type { WireConnection, WireUpgrade } from "../net/wire_handler.ts";
import { encodeRawFrame } from "../peer/frame.ts";
import { closeFrameOf } from "../peer/peer.ts";
import { Player, type Seen } from "../peer/player.ts";
import type { ScriptFrame } from "../peer/script.ts";
import { RawSocket } from "../peer/socket.ts";
import type { RawTransport } from "../peer/transport.ts";
import type { WireEntry } from "../peer/wire_log.ts";
import { encodeClosePayload } from "../protocol/close.ts";
import { DEFLATE, formatDeflate, MAX_WINDOW_BITS, readDeflate } from "../protocol/deflate.ts";
import { parseExtensions } from "../protocol/extension.ts";
import { OPCODE } from "../protocol/frame.ts";
import { offeredExtensions, responseFields, SWITCHING } from "../protocol/handshake_server.ts";
import { encodeHead } from "../protocol/http_lines.ts";
import { concatBytes } from "../protocol/message.ts";
import { viewOf } from "../server/handshake_refusal.ts";
import type { Holder, MemoryBudget } from "../server/budget.ts";
import type { EchoClosed } from "../server/policy.ts";

/** Default of the longest silence before a client counts as late, in milliseconds: 5 s. */
export const DEFAULT_SILENCE_MS = 5000;

/** Deadline for the end of TCP after a refused handshake, in milliseconds: 2 s. */
const REFUSAL_MS = 2000;

/** Pause between the writes of an answer, in milliseconds: 1. It keeps TCP from joining them. */
const CHOP_PAUSE_MS = 1;

/** Overhead of a kept frame, in bytes: 384. Empty frames have it too. */
const FRAME_BYTES = 384;

/** Largest read, in bytes: 16 KiB. Other connections get a turn, and the budget is checked, in between. */
const READ_BYTES = 16 * 1024;

/** The end of a visit, for the log. */
export type MirrorEnd = Omit<EchoClosed, "type" | "id" | "peer">;

/** Options of a visit. */
export interface MirrorVisitOptions {
  /** The request of the client. */
  readonly asked: MirrorRequest;
  /** The fault of its handshake request, if any. */
  readonly requestProblem: string | undefined;
  /** The store of results. */
  readonly board: Scoreboard;
  /** The memory budget of all connections. */
  readonly budget: MemoryBudget;
  /** Lifetime of the connection, in milliseconds. */
  readonly maxConnectionMs: number;
  /** Longest silence before the client counts as late, in milliseconds. */
  readonly silenceMs: number;
  /** The set that `getCaseCount` counts. */
  readonly cases: CaseSet;
  /** Writes the reports; the client waits for them. */
  readonly onUpdate: () => Promise<void>;
  /** Called at the end. */
  readonly onEnd: (end: MirrorEnd) => void;
}

/** A connection that plays one case, or sends one message and closes. */
export class MirrorVisit implements WireConnection, Holder {
  readonly ended: Promise<void>;
  readonly #upgrade: WireUpgrade;
  readonly #socket: RawSocket;
  readonly #options: MirrorVisitOptions;
  readonly #player: Player;
  readonly #end = Promise.withResolvers<void>();
  readonly #since = performance.now();
  #bytes = 0;
  /** Why the lab ended the connection; empty otherwise. */
  #cause = "";

  /**
   * Takes over a connection before the answer to its handshake.
   *
   * @param upgrade The connection, from the lab's listener.
   * @param options The request and the lab's limits.
   */
  constructor(upgrade: WireUpgrade, options: MirrorVisitOptions) {
    if (!(upgrade.stream instanceof RawSocket)) throw new TypeError("Connection is none of the lab's listener");
    this.ended = this.#end.promise;
    this.#upgrade = upgrade;
    this.#socket = upgrade.stream;
    this.#options = options;
    const onFrame = ({ direction }: WireEntry) => void (direction === "in" && (this.#bytes += FRAME_BYTES));
    this.#player = new Player(this.#transport(), { role: "server", silenceMs: options.silenceMs, onFrame });
  }

  /** Answers the handshake, then plays. */
  async run(early: Uint8Array): Promise<void> {
    const { asked, onEnd, budget } = this.#options;
    try {
      if (asked.do === "runCase") await this.#runCase(asked.place, asked.agent, early);
      else await this.#say(asked, early);
    } finally {
      budget.release(this);
      this.#socket.close();
      this.#end.resolve();
      onEnd({ ...recordOf(this.#player.seen()), ms: performance.now() - this.#since });
    }
  }

  tick(now: number): void {
    const { maxConnectionMs } = this.#options;
    if (now - this.#since >= maxConnectionMs) this.destroy(`Case did not finish within ${maxConnectionMs / 1000} s`);
  }

  close(_code: number, reason: string): void {
    this.destroy(reason);
  }

  destroy(error = "Lab is shutting down"): void {
    this.#cause ||= error;
    this.#socket.close(error);
  }

  heldBytes(): number {
    return this.#bytes;
  }

  shed(): boolean {
    this.#bytes = 0;
    this.destroy("Connections hold more than the lab's budget");
    return true;
  }

  /** The lab keeps a client's frames until it judges them, and counts them in its budget. */
  #transport(): RawTransport {
    const socket = this.#socket;
    return {
      read: async (into) => {
        await socket.turn();
        const read = await socket.read(into.subarray(0, READ_BYTES));
        this.#bytes += read ?? 0;
        if (!this.#options.budget.hold(this, this.#bytes)) this.shed();
        return read;
      },
      write: async (bytes) => {
        await socket.turn();
        await socket.write(bytes);
      },
      closeWrite: () => socket.closeWrite(),
      close: () => this.destroy("Client sent more frames than the lab keeps"),
    };
  }

  /** Sends one message, and closes. */
  async #say(asked: Exclude<MirrorRequest, { do: "runCase" }>, early: Uint8Array): Promise<void> {
    const said = await this.#answerTo(asked);
    await this.#greet(early);
    const frames: ScriptFrame[] = [{ opcode: OPCODE.close, payload: encodeClosePayload(1000) }];
    if (said !== "") frames.unshift({ opcode: OPCODE.text, payload: new TextEncoder().encode(said) });
    await this.#player.play([{ do: "send", frames }]);
    await this.#player.finish(1000);
  }

  async #answerTo(asked: Exclude<MirrorRequest, { do: "runCase" }>): Promise<string> {
    const { board } = this.#options;
    switch (asked.do) {
      case "getCaseCount":
        return JSON.stringify(caseCountOf(this.#options.cases));
      case "getCaseInfo": {
        const { number, test } = asked.place;
        return JSON.stringify({ id: number, description: `${test.title} (${test.id}): ${test.rule}` });
      }
      case "getCaseStatus": {
        const agent = board.find(asked.agent);
        // The client may ask before its case connection has ended.
        await agent?.settled(asked.place.number);
        const result = agent?.result(asked.place.number);
        const [behavior, behaviorClose] = result ? behaviorOf(result) : ["MISSING", "MISSING"];
        return JSON.stringify({ behavior, behaviorClose });
      }
      case "updateReports":
        await board.find(asked.agent)?.settled();
        await this.#options.onUpdate();
        return "";
    }
  }

  async #runCase(place: ClientCase, name: string, early: Uint8Array): Promise<void> {
    const { board, requestProblem } = this.#options;
    const agent = board.visit(name);
    const { request } = this.#upgrade;
    const done = Promise.withResolvers<void>();
    agent.came(place.number, request.headers.get("sec-websocket-key") ?? "", done.promise);
    try {
      const { test, answer, judgeAgent } = place;
      const plan = test.plan();
      const extensions = plan.deflate ? this.#deflateFor(plan) : "";
      const skipped = typeof extensions === "string" ? this.#skipReason(plan, extensions) : extensions.reason;
      const sent = await this.#greet(early, typeof extensions === "string" ? extensions : "", answer);
      if (skipped !== undefined) await this.#player.finish(1000);
      else if (answer?.isRefusal) await this.#player.play([{ do: "half-close" }, { do: "settle", ms: REFUSAL_MS }]);
      else await this.#play(plan);
      const seen = this.#player.seen();
      const ownMasks = seen.frames.flatMap(({ maskingKey }) => maskingKey ?? []).slice(0, MAX_MASKS);
      agent.masked(ownMasks);
      const judged = skipped === undefined
        ? this.#judge(place, plan, seen)
        : { grade: "skipped" as const, reason: skipped };
      const found = judgeAgent?.({ ...agent.traits(place.number), ownMasks, requestProblem });
      const isFirst = found === undefined || judged.grade === "fail" || judged.grade === "unclean";
      board.keep(agent, place, this.#resultOf(place, isFirst ? judged : leveled(test, found), seen, sent));
    } finally {
      done.resolve();
    }
  }

  #judge({ test, answer }: ClientCase, plan: Plan, seen: Seen): Judgement {
    if (answer?.isRefusal) return { grade: "pass", reason: "" };
    if (this.#cause !== "") return { grade: "fail", reason: this.#cause };
    return judge(test, plan, seen, { peer: "client", echoes: true });
  }

  async #play(plan: Plan): Promise<void> {
    const player = this.#player;
    await player.play(plan.steps);
    const pongs = plan.replies.filter(({ kind }) => kind === "pong").length;
    if (plan.end.type === "failure") await player.awaitFailure();
    // A client may answer only one of several pings that arrive together; our close frame follows them all.
    else await player.finish(1000, plan.replies.length - pongs, Math.min(pongs, 1));
  }

  /** Answers the handshake, then starts to read. */
  async #greet(early: Uint8Array, extensions = "", edit: AnswerEdit = {}): Promise<string> {
    const { request, protocol } = this.#upgrade;
    const { startLine = SWITCHING, fields = {}, isLowerCase = false, chopBytes = Infinity, behind = [] } = edit;
    const own = responseFields(request.headers.get("sec-websocket-key") ?? "", protocol, extensions);
    const replaced = Object.entries(fields).map(([name, values]) => ({
      name: name.toLowerCase(),
      field: name,
      values,
    }));
    const kept = own.filter(([name]) => !replaced.some((each) => each.name === name.toLowerCase()));
    const added = replaced.flatMap(({ field, values }) => values.map((value) => [field, value] as const));
    const all = [...kept, ...added].map(([name, value]) => [isLowerCase ? name.toLowerCase() : name, value] as const);
    const head = encodeHead(startLine, all);
    const pieces = [head, ...behind.flatMap((frame) => [...encodeRawFrame(frame)])];
    const bytes = concatBytes(pieces);
    try {
      for (let at = 0; at < bytes.byteLength; at += Math.min(chopBytes, bytes.byteLength)) {
        await this.#socket.write(bytes.subarray(at, at + chopBytes));
        if (chopBytes < bytes.byteLength) await this.#socket.pause(CHOP_PAUSE_MS);
      }
    } catch {
      // The reader sees the end of TCP.
    }
    this.#player.begin(early);
    return [startLine, ...all.map(([name, value]) => `${name}: ${value}`)].join("\r\n");
  }

  /** The answer to the client's offer that a case needs, or the reason for none. */
  #deflateFor({ handshake }: Plan): string | { readonly reason: string } {
    const offers = offeredExtensions(viewOf(this.#upgrade.request)) ?? [];
    const offer = offers.find(({ name }) => name === DEFLATE);
    if (offer === undefined) return { reason: "client does not offer permessage-deflate" };
    const asked = readDeflate(offer, "client");
    if (typeof asked === "string") return { reason: `the offer of the client is wrong: ${asked}` };
    const { serverMaxWindowBits = MAX_WINDOW_BITS, clientMaxWindowBits } = asked;
    if (serverMaxWindowBits < MAX_WINDOW_BITS) return { reason: "client requests a smaller server window" };
    // The case asks something of a server: swap the roles.
    const wished = parseExtensions(handshake?.request.fields?.["Sec-WebSocket-Extensions"]?.[0] ?? "")?.[0];
    const wish = wished && readDeflate(wished, "client");
    const own = typeof wish === "object" ? wish : {};
    const bits = own.serverMaxWindowBits;
    if (bits !== undefined && clientMaxWindowBits === undefined) {
      return { reason: "client does not offer client_max_window_bits" };
    }
    return formatDeflate({
      serverNoContextTakeover: asked.serverNoContextTakeover === true,
      clientNoContextTakeover: asked.clientNoContextTakeover === true || own.serverNoContextTakeover === true,
      ...(asked.serverMaxWindowBits !== undefined && { serverMaxWindowBits }),
      ...(bits !== undefined &&
        { clientMaxWindowBits: Math.min(bits, clientMaxWindowBits === true ? bits : clientMaxWindowBits ?? bits) }),
    });
  }

  /** A case that skips servers skips clients with the same parameter of the other side. */
  #skipReason({ skipReason }: Plan, extensions: string): string | undefined {
    if (skipReason === undefined) return undefined;
    const turned = extensions.replace(/\b(server|client)_/g, (_, role) => role === "server" ? "client_" : "server_");
    const answer: HandshakeAnswer = {
      status: 101,
      head: { startLine: SWITCHING, fields: [["Sec-WebSocket-Extensions", turned]] },
      acceptKey: "",
    };
    return skipReason(answer)?.replace(/\b(server|client)\b/g, (role) => role === "server" ? "client" : "server");
  }

  #resultOf({ test }: ClientCase, judgement: Judgement, seen: Seen, sent: string): CaseResult {
    const { request, target } = this.#upgrade;
    const fields = [...request.toRequest().headers].map(([name, value]) => `${name}: ${value}`);
    return {
      ...judgement,
      test,
      ms: performance.now() - this.#since,
      request: [`${request.method} ${target} HTTP/1.1`, ...fields].join("\r\n"),
      answer: sent,
      isClient: true,
      seen,
    };
  }
}

/** The end of a case connection, for the log. */
function recordOf({ frames, sentClose, end }: Seen): Omit<MirrorEnd, "ms"> {
  const close = frames.find(({ opcode }) => opcode === OPCODE.close)?.payload;
  const data = frames.filter(({ opcode }) => opcode < OPCODE.close);
  return {
    sent: sentClose === null ? null : { code: sentClose, reason: "" },
    received: close === undefined ? null : closeFrameOf(close),
    initiator: "not-known",
    end: close === undefined ? "no-close-frame" : "close-frame",
    tcp: end === "none" ? "local" : "not-known",
    detail: "",
    messages: data.filter(({ final }) => final).length,
    bytes: data.reduce((sum, { length }) => sum + length, 0),
  };
}
