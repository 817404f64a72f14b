/**
 * Parts that many cases share: payloads, frames and endings.
 *
 * @module
 */

import type { Case, Ending, Plan, Reply } from "../case.ts";
import type { ScriptFrame, Step } from "../../peer/script.ts";
import { OPCODE } from "../../protocol/frame.ts";
import { encodeClosePayload } from "../../protocol/close.ts";
import { type Message, type MessageKind, payloadOf } from "../../protocol/message.ts";

/** Bytes in hexadecimal. */
export function hex(digits: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.fromHex(digits.replaceAll(" ", ""));
}

/** A short text that many cases send. */
export const HELLO: Uint8Array<ArrayBuffer> = payloadOf("Hello, world!");

/** Text frame. */
export function text(payload: Message, rest: Partial<ScriptFrame> = {}): ScriptFrame {
  return { opcode: OPCODE.text, payload: payloadOf(payload), ...rest };
}

/** Binary frame. */
export function binary(payload: Uint8Array<ArrayBuffer>, rest: Partial<ScriptFrame> = {}): ScriptFrame {
  return { opcode: OPCODE.binary, payload, ...rest };
}

/** Continuation frame. */
export function more(payload: Message, rest: Partial<ScriptFrame> = {}): ScriptFrame {
  return { opcode: OPCODE.continuation, payload: payloadOf(payload), ...rest };
}

/** Ping frame. */
export function ping(payload: Message = "", rest: Partial<ScriptFrame> = {}): ScriptFrame {
  return { opcode: OPCODE.ping, payload: payloadOf(payload), ...rest };
}

/** Pong frame. */
export function pong(payload: Message = "", rest: Partial<ScriptFrame> = {}): ScriptFrame {
  return { opcode: OPCODE.pong, payload: payloadOf(payload), ...rest };
}

/** Close frame with any payload. */
export function closeBytes(payload: Uint8Array<ArrayBuffer>, rest: Partial<ScriptFrame> = {}): ScriptFrame {
  return { opcode: OPCODE.close, payload, ...rest };
}

/** Close frame with a code and a reason. */
export function close(code = 1000, reason = ""): ScriptFrame {
  return closeBytes(encodeClosePayload(code, reason));
}

/** One step that sends frames together. */
export function send(...frames: ScriptFrame[]): Step {
  return { do: "send", frames };
}

/** Steps that send frames in one of three ways: together, one frame a write, or one byte a write. */
export function sendIn(way: Way, ...frames: ScriptFrame[]): Step[] {
  if (way === "together") return [send(...frames)];
  if (way === "apart") return frames.map((frame) => send(frame));
  return [{ do: "send", frames, chopBytes: 1 }];
}

/** Division of frames into writes. */
export type Way = "together" | "apart" | "byte by byte";

/** The three ways, with their words in ids. */
export const WAYS: readonly (readonly [way: Way, word: string])[] = [
  ["together", "together"],
  ["apart", "apart"],
  ["byte by byte", "bytes"],
];

/** A reply. */
export function reply(kind: Reply["kind"], payload: Message): Reply {
  return { kind, payload: payloadOf(payload) };
}

/** End of a connection without a fault. */
export const NORMAL: Ending = { type: "close", codes: [1000] };

/** End after a breach of the protocol. */
export const FAILED_1002: Ending = { type: "failure", codes: [1002] };

/** End after text that is not UTF-8. */
export const FAILED_1007: Ending = { type: "failure", codes: [1007] };

/** Plan that sends frames together, then ends. */
export function plan(steps: readonly Step[], replies: readonly Reply[], end: Ending, rest: Partial<Plan> = {}): Plan {
  return { steps, replies, end, ...rest };
}

/** Payload of a given size: ASCII with a period of 10 bytes, or binary that counts up. */
export function filler(kind: MessageKind, bytes: number): Uint8Array<ArrayBuffer> {
  const payload = new Uint8Array(bytes);
  const pattern = kind === "text" ? payloadOf("BAsd7&jh23") : Uint8Array.from({ length: 251 }, (_, index) => index);
  payload.set(pattern.subarray(0, bytes));
  // Doubling is faster than a loop over bytes, and keeps the period.
  for (let filled = pattern.byteLength; filled < bytes; filled *= 2) {
    payload.copyWithin(filled, 0, Math.min(filled, bytes - filled));
  }
  return payload;
}

/** A case; by default for both roles, at level `must`. */
export function make(
  test: Omit<Case, "level" | "holds" | "profile" | "needs"> & Partial<Case>,
): Case {
  return { level: "must", holds: "both", profile: "standard", needs: [], ...test };
}

/** Cuts a payload into frames; the last one is final unless more follow. */
export function* fragmentsOf(
  kind: MessageKind,
  payload: Uint8Array<ArrayBuffer>,
  bytes: number,
  { isWhole = true }: { readonly isWhole?: boolean } = {},
): Iterable<ScriptFrame> {
  for (let at = 0; at === 0 || at < payload.byteLength; at += bytes) {
    yield {
      opcode: at === 0 ? OPCODE[kind] : OPCODE.continuation,
      payload: payload.subarray(at, at + bytes),
      final: isWhole && at + bytes >= payload.byteLength,
    };
  }
}
