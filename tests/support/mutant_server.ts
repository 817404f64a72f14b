/** A small echo server that keeps every rule of `check`, except for one fault that a test adds. */

import { encodeRawFrame, type RawFrame } from "../../lib/peer/frame.ts";
import { RawReader, type SeenFrame } from "../../lib/peer/raw_reader.ts";
import { encodeClosePayload, isSendableCloseCode } from "../../lib/protocol/close.ts";
import { isHost } from "../../lib/protocol/authority.ts";
import { acceptKeyFor, isKey } from "../../lib/protocol/handshake.ts";
import { HeadReader } from "../../lib/protocol/http.ts";
import { encodeHead, type HttpHead, listOf, parseRequestLine, valuesOf } from "../../lib/protocol/http_lines.ts";
import { concatBytes } from "../../lib/protocol/message.ts";
import { isToken } from "../../lib/protocol/token.ts";
import { isUtf8, Utf8Checker } from "../../lib/protocol/utf8.ts";
import { type DeflateFault, MutantInflater, negotiate } from "./mutant_deflate.ts";

/** The deviations of a mutant. */
export interface Fault {
  /** Broken rules, by the names below. */
  readonly ignores?: readonly string[];
  /** Changes the answer to the handshake. */
  readonly answer?: (startLine: string, fields: [string, string][], request: HttpHead) => [string, [string, string][]];
  /** Changes the fields of a refusal. */
  readonly refusal?: (status: number) => [number, [string, string][]] | "drop" | "silence" | "noise";
  /** Changes each outgoing frame. */
  readonly frame?: (frame: RawFrame) => RawFrame[];
  /** Changes the code that fails a connection; `undefined` drops TCP. */
  readonly failureCode?: (code: number) => number | undefined;
  /** Changes the answer to a close frame; `undefined` for none. */
  readonly closeAnswer?: (payload: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer> | undefined;
  /** Overrides the validity of a close code. */
  readonly isCode?: (code: number) => boolean;
  /** The code that fails a close frame with a refused but valid code; 1002 by default. */
  readonly codeFailure?: number;
  /** The longest message to echo, in bytes. */
  readonly maxBytes?: number;
  /** Its compression; none by default. */
  readonly deflate?: DeflateFault;
  /** Stops answering on every connection after a trigger. */
  readonly stun?: Stun;
  /** Closes with 1001 as soon as the connection is open. */
  readonly isImpatient?: boolean;
  /** Delays pongs until the end of a message. */
  readonly latePongs?: boolean;
  /** Maximum number of answered pings. */
  readonly maxPongs?: number;
  /** Maximum number of answered messages; one more ends the connection with 1008. */
  readonly maxMessages?: number;
  /** Maximum number of fragments of a message; one more ends the connection with 1008. */
  readonly maxFragments?: number;
  /** Idle timeout of the connection, in milliseconds. */
  readonly patienceMs?: number;
  /** Time from the close frames until it treats the connection as open again, in milliseconds. */
  readonly forgetsMs?: number;
}

/** The trigger that stuns a server. */
export interface Stun {
  /** Whether it has occurred. */
  isStunned: boolean;
  /** Recognises a triggering frame. */
  readonly frame?: (frame: SeenFrame) => boolean;
  /** Whether a request of more than one read triggers. */
  readonly isSlowHead?: boolean;
}

const NEVER = new Promise<never>(() => {});

/** A running server. */
export interface Mutant extends AsyncDisposable {
  readonly url: string;
}

/** Starts a server on a free port. */
export function serveMutant(fault: Fault): Mutant {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const connections = new Set<Deno.Conn>();
  const work = (async () => {
    for await (const connection of listener) {
      connection.setNoDelay(true);
      connections.add(connection);
      const served = serveOne(connection, fault).catch(() => {}).finally(() => {
        connections.delete(connection);
        try {
          connection.close();
        } catch {
          // Already closed.
        }
      });
      if (fault.ignores?.includes("others")) await served;
    }
  })();
  return {
    url: `ws://127.0.0.1:${listener.addr.port}/`,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const connection of connections) connection.close();
      await work.catch(() => {});
    },
  };
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) at += await connection.write(bytes.subarray(at));
}

async function serveOne(connection: Deno.Conn, fault: Fault): Promise<void> {
  const reader = new HeadReader("request");
  const buffer = new Uint8Array(64 * 1024);
  const ignores = (rule: string) => fault.ignores?.includes(rule) ?? false;
  let raw = "";
  let complete;
  while (complete === undefined) {
    if (raw !== "" && fault.stun?.isSlowHead) fault.stun.isStunned = true;
    if (fault.stun?.isStunned) await NEVER;
    if (raw !== "" && ignores("head-pieces")) return;
    const read = await connection.read(buffer);
    if (read === null) return;
    raw += new TextDecoder().decode(buffer.subarray(0, read));
    complete = reader.push(buffer.subarray(0, read));
  }
  const status = ignores("blanks") && /:[ \t]{2,}/.test(raw) ? 400 : refusalFor(complete.head, ignores);
  if (status !== undefined) {
    const made = fault.refusal?.(status) ??
      [status, status === 426 ? [["Sec-WebSocket-Version", "13"]] : []] as [number, [string, string][]];
    if (made === "drop") return;
    if (made === "silence") return await NEVER;
    if (made === "noise") return await writeAll(connection, new TextEncoder().encode("no\r\n\r\n"));
    return await writeAll(connection, encodeHead(`HTTP/1.1 ${made[0]} No`, [...made[1], ["Content-Length", "0"]]));
  }
  const [key = ""] = valuesOf(complete.head, "sec-websocket-key");
  const fields: [string, string][] = [
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Accept", acceptKeyFor(key)],
  ];
  const extension = fault.deflate && negotiate(complete.head, fault.deflate);
  if (extension !== undefined) fields.push(["Sec-WebSocket-Extensions", extension]);
  const line = "HTTP/1.1 101 Switching Protocols";
  const [startLine, answer] = fault.answer?.(line, fields, complete.head) ?? [line, fields];
  await writeAll(connection, encodeHead(startLine, answer));
  await new Session(connection, fault, extension !== undefined).run(complete.rest, buffer);
}

/** The status of a refusal; `ignores` names rules. */
function refusalFor(head: HttpHead, ignores: (rule: string) => boolean): number | undefined {
  const request = parseRequestLine(head.startLine);
  const hosts = valuesOf(head, "host");
  const keys = valuesOf(head, "sec-websocket-key");
  const has = (name: string, token: string) =>
    listOf(head, name).some((value) => (ignores(`${name}-case`) ? value : value.toLowerCase()) === token);
  if (!ignores("method") && request?.method !== "GET" && !(ignores("method-case") && request?.method === "get")) {
    return 405;
  }
  if (!ignores("http-version") && request?.version !== "1.1") return 505;
  if (hosts.length === 0 && !ignores("no-host")) return 400;
  if (hosts.length > 1 && !ignores("two-hosts")) return 400;
  if (hosts.some((host) => !isHost(host))) return 400;
  if (!ignores("upgrade") && !has("upgrade", "websocket")) return 426;
  if (ignores("upgrade-list") && listOf(head, "upgrade").length > 1) return 400;
  if (!ignores("connection") && !has("connection", ignores("connection-case") ? "Upgrade" : "upgrade")) return 400;
  if (ignores("keep-alive") && listOf(head, "connection").length > 1) return 400;
  if (ignores("any-field") && head.fields.length > 12) return 400;
  if (ignores("long-cookie") && head.fields.some(([, value]) => value.length > 4096)) return 431;
  if (ignores("extensions") && valuesOf(head, "sec-websocket-extensions").length > 0) return 400;
  if (ignores("subprotocols") && valuesOf(head, "sec-websocket-protocol").length > 0) return 101;
  const version = listOf(head, "sec-websocket-version").join();
  if (version === "" && !ignores("no-version")) return 400;
  if (version !== "" && version !== "13" && !ignores("version")) return 426;
  if (keys.length === 0 && !ignores("no-key")) return 400;
  if (keys.length > 1 && !ignores("two-keys")) return 400;
  if (keys[0] !== undefined && !isKey(keys[0]) && !ignores("key-form")) return 400;
  const isListOfTokens = (name: string) =>
    listOf(head, name).every((value) => isToken(value.split(";", 1)[0]?.trim() ?? ""));
  if (!ignores("token-protocol") && !isListOfTokens("sec-websocket-protocol")) return 400;
  if (!ignores("token-extension") && !isListOfTokens("sec-websocket-extensions")) return 400;
  return undefined;
}

const NOTHING = new Uint8Array(0);

/** The answer to an unfinished frame or message. */
const REST: RawFrame = { opcode: 1, payload: new TextEncoder().encode("rest") };

/** Masks a frame with an arbitrary key. */
function masked(pieces: readonly Uint8Array[], { payload }: RawFrame, key: Uint8Array): Uint8Array[] {
  const whole = concatBytes(pieces);
  const head = whole.slice(0, whole.byteLength - payload.byteLength);
  head[1] = (head[1] ?? 0) | 0x80;
  return [head, key, payload.map((byte, index) => byte ^ (key[index % 4] ?? 0))];
}

/** One open connection in either role. */
export class Session {
  readonly #connection: Deno.Conn;
  readonly #fault: Fault;
  #out: Uint8Array[] = [];
  #late: RawFrame[] = [];
  #parts: SeenFrame[] = [];
  #text = new Utf8Checker();
  #isOver = false;
  #pings = 0;
  #messages = 0;

  readonly #inflater: MutantInflater | undefined;
  readonly #mask: (() => Uint8Array) | undefined;

  /** A client passes `mask`. */
  constructor(connection: Deno.Conn, fault: Fault, isDeflated: boolean, mask?: () => Uint8Array) {
    this.#connection = connection;
    this.#mask = mask;
    this.#fault = fault;
    this.#inflater = isDeflated ? new MutantInflater(fault.deflate ?? {}) : undefined;
  }

  /** Reserved bits that have no meaning here. */
  #strange({ opcode, reserved }: SeenFrame): number {
    if (this.#inflater === undefined) return reserved;
    const allowed = this.#ignoresDeflate("rsv2") ? 6 : 4;
    if (opcode === 0) return this.#ignoresDeflate("rsv1-place") ? reserved & ~allowed : reserved;
    if (opcode > 2) return this.#ignoresDeflate("rsv1-control") ? reserved & ~allowed : reserved;
    return reserved & ~allowed;
  }

  #ignoresDeflate(rule: string): boolean {
    return this.#fault.deflate?.ignores?.includes(rule) ?? false;
  }

  async run(early: Uint8Array, buffer: Uint8Array): Promise<void> {
    const reader = new RawReader((frame) => this.#take(frame));
    reader.push(early);
    if (this.#fault.isImpatient) this.#fail(1001);
    while (true) {
      if (reader.isSpent && this.#ignores("spent")) this.#send(REST);
      if (reader.isSpent && !this.#ignores("sign-bit")) this.#fail(1002);
      if (this.#fault.stun?.isStunned) await NEVER;
      await this.#flush();
      if (this.#isOver && !this.#ignores("tcp-end")) break;
      const read = await this.#read(buffer);
      if (read === null) {
        if (reader.isInsideFrame && !reader.isSpent && this.#ignores("cut-frame")) this.#send(REST);
        if (this.#parts.length > 0 && this.#ignores("cut-message")) this.#send(REST);
        await this.#flush();
        break;
      }
      reader.push(buffer.subarray(0, read));
    }
    if (this.#fault.forgetsMs !== undefined) await this.#remember(this.#fault.forgetsMs, buffer);
    if (this.#ignores("their-end")) await new Promise(() => {});
    await this.#connection.closeWrite();
    // Closing with unread bytes would reset the connection.
    while (await this.#connection.read(buffer) !== null);
  }

  #ignores(rule: string): boolean {
    return this.#fault.ignores?.includes(rule) ?? false;
  }

  /** Reads until the idle timeout, if there is one. */
  async #read(buffer: Uint8Array): Promise<number | null> {
    const { patienceMs } = this.#fault;
    if (patienceMs === undefined) return await this.#connection.read(buffer);
    const end = Promise.withResolvers<null>();
    const timer = setTimeout(() => end.resolve(null), patienceMs);
    return await Promise.race([this.#connection.read(buffer), end.promise]).finally(() => clearTimeout(timer));
  }

  /** Sends another message if the peer leaves TCP open for this long. */
  async #remember(ms: number, buffer: Uint8Array): Promise<void> {
    const timer = setTimeout(() => {
      this.#send(REST);
      this.#flush().catch(() => {});
    }, ms);
    while (await this.#connection.read(buffer) !== null);
    clearTimeout(timer);
  }

  async #flush(): Promise<void> {
    const all = this.#out;
    this.#out = [];
    if (all.length > 0) {
      await writeAll(
        this.#connection,
        concatBytes(all),
      );
    }
  }

  #send(frame: RawFrame): void {
    for (const each of this.#fault.frame?.(frame) ?? [frame]) {
      const pieces = [...encodeRawFrame(each)];
      this.#out.push(...this.#mask && !this.#ignores("own-mask") ? masked(pieces, each, this.#mask()) : pieces);
    }
  }

  #fail(code: number): void {
    const sent = this.#fault.failureCode ? this.#fault.failureCode(code) : code;
    this.#isOver = true;
    if (sent !== undefined) this.#send({ opcode: 8, payload: encodeClosePayload(sent) });
  }

  #take(frame: SeenFrame): void {
    const { stun } = this.#fault;
    if (stun?.frame?.(frame)) stun.isStunned = true;
    if (stun?.isStunned) return;
    if (this.#isOver) {
      if (this.#ignores("one-close") && frame.opcode === 8) this.#send({ opcode: 8, payload: frame.payload });
      if (this.#ignores("no-pong-after-close") && frame.opcode === 9) {
        this.#send({ opcode: 10, payload: frame.payload });
      }
      if (this.#ignores("silence-after-close") && frame.opcode === 1) this.#send({ opcode: 1, payload: frame.payload });
      return;
    }
    const { opcode, final, isMasked, isMinimal, length } = frame;
    const isControl = opcode >= 8;
    if (this.#strange(frame) !== 0 && !this.#ignores("rsv")) return this.#fail(1002);
    if (!(opcode <= 2 || (opcode >= 8 && opcode <= 10))) return this.#ignores("opcode") ? undefined : this.#fail(1002);
    if (isMasked === (this.#mask !== undefined) && !this.#ignores("mask")) return this.#fail(1002);
    if (!isMinimal && !this.#ignores("minimal")) return this.#fail(1002);
    if (isControl && length > 125 && !this.#ignores("control-length")) return this.#fail(1002);
    if (isControl && !final && !this.#ignores("control-fin")) return this.#fail(1002);
    if (opcode === 8) return this.#takeClose(frame.payload);
    if (opcode === 9) return this.#takePing(frame.payload);
    if (opcode === 10 && this.#ignores("silent-pong")) this.#send({ opcode, payload: frame.payload });
    if (!isControl) this.#takeData(frame);
  }

  #takePing(payload: Uint8Array<ArrayBuffer>): void {
    if (this.#ignores("ping") || ++this.#pings > (this.#fault.maxPongs ?? Infinity)) return;
    const pong = { opcode: 10, payload };
    if (this.#fault.latePongs && this.#parts.length > 0) this.#late.push(pong);
    else this.#send(pong);
  }

  #takeData(frame: SeenFrame): void {
    if (this.#parts.length === 0) {
      if (frame.opcode === 0 && !this.#ignores("stray")) return this.#fail(1002);
      if (frame.opcode === 0) return;
      this.#text = new Utf8Checker();
    } else if (frame.opcode !== 0) {
      if (!this.#ignores("restart")) return this.#fail(1002);
      this.#parts = [];
    }
    this.#parts.push(frame);
    if (this.#parts.length > (this.#fault.maxFragments ?? Infinity)) return this.#fail(1008);
    const isText = this.#parts[0]?.opcode === 1;
    const isPacked = this.#inflater !== undefined && ((this.#parts[0]?.reserved ?? 0) & 4) !== 0;
    if (
      isText && !isPacked && !this.#ignores("utf8-fast") && !this.#ignores("utf8") && !this.#text.push(frame.payload)
    ) {
      return this.#fail(1007);
    }
    if (!frame.final) return;
    const pieces = this.#parts.map(({ payload }) => payload);
    const whole = concatBytes(pieces);
    this.#parts = [];
    const payload = this.#inflated(whole, isPacked);
    if (payload === undefined) return this.#ignoresDeflate("damage") ? undefined : this.#fail(1002);
    const isFree = isPacked && this.#ignoresDeflate("utf8");
    if (isText && !isFree && !this.#ignores("utf8") && !isUtf8(payload)) return this.#fail(1007);
    if (payload.byteLength > (this.#fault.maxBytes ?? Infinity)) return this.#fail(1009);
    if (++this.#messages > (this.#fault.maxMessages ?? Infinity)) return this.#fail(1008);
    this.#send({ opcode: isText ? 1 : 2, payload });
    for (const pong of this.#late.splice(0)) this.#send(pong);
  }

  #inflated(whole: Uint8Array<ArrayBuffer>, isPacked: boolean): Uint8Array<ArrayBuffer> | undefined {
    const isWanted = isPacked ? !this.#ignoresDeflate("inflate") : this.#ignoresDeflate("plain");
    if (this.#inflater === undefined || !isWanted) return whole;
    try {
      return this.#inflater.inflate(whole);
    } catch {
      return undefined;
    }
  }

  #takeClose(payload: Uint8Array<ArrayBuffer>): void {
    if (this.#parts.length > 0 && this.#ignores("close-inside")) return this.#fail(1002);
    if (payload.byteLength === 1 && !this.#ignores("close-byte")) return this.#fail(1002);
    const code = payload.byteLength < 2 ? 1000 : (payload[0] ?? 0) * 256 + (payload[1] ?? 0);
    const isRight = this.#fault.isCode ?? isSendableCloseCode;
    if (!isRight(code)) return this.#fail(isSendableCloseCode(code) ? this.#fault.codeFailure ?? 1002 : 1002);
    if (!this.#ignores("close-utf8") && !isUtf8(payload.slice(2))) return this.#fail(1007);
    this.#isOver = true;
    const answer = this.#fault.closeAnswer ? this.#fault.closeAnswer(payload) : payload.slice(0, 2);
    if (answer !== undefined) this.#send({ opcode: 8, payload: answer.byteLength === 1 ? NOTHING : answer });
  }
}
