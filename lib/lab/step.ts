/**
 * A step of the lab: one segment of a path, or a few, that says what the lab does.
 *
 * @module
 */

import type { DeflateAgreement } from "../protocol/deflate.ts";
import type { Extension } from "../protocol/extension.ts";
import type { ProgramLoad } from "./load.ts";
import type { LabPeer } from "./peer.ts";

/** The answer to the opening handshake; the steps change it before it is sent. */
export interface HandshakeAnswer {
  /** The first line. */
  startLine: string;
  /** The fields, by name. */
  readonly fields: Map<string, string>;
  /** The extensions that the client offers. */
  readonly offers: readonly Extension[];
  /** How messages are compressed; `undefined` as long as no step has accepted that. */
  deflate: DeflateAgreement | undefined;
  /** How much of it is sent: 1 for all. */
  portion: number;
  /** How long each line waits before it goes out, in milliseconds; 0 sends them together. */
  linePauseMs: number;
  /** The state behind the answer: the WebSocket connection begins, nothing ever comes, or the connection ends. */
  then: "open" | "silence" | "end";
}

/** The values that a path gives to a step. */
export interface StepArguments {
  /** The number; infinite if it was left out, 0 if the step has none. */
  readonly number: number;
  /** The text; empty if it was left out or the step has none. */
  readonly text: string;
}

/** The effect of a step, and its time. */
export type StepEffect =
  /** It changes the answer to the handshake; such steps come first in a path. */
  | { readonly on: "handshake"; readonly run: (answer: HandshakeAnswer, values: StepArguments) => void }
  /** It acts in its turn, or shapes the messages that are sent after it. */
  | { readonly on: "turn"; readonly run: (peer: LabPeer, values: StepArguments) => Promise<void> | void }
  /** It meets the client's close frame, wherever in a path it stands. */
  | { readonly on: "close"; readonly run: (peer: LabPeer, values: StepArguments) => Promise<void> };

/** A number that a step takes. */
export interface NumberParameter {
  /** The name in the list, with its unit. */
  readonly name: string;
  /** The least that is allowed. */
  readonly min: number;
  /** The most that is allowed. */
  readonly max: number;
  /** A part of the range that is not allowed. */
  readonly except?: { readonly min: number; readonly max: number };
  /** Whether it may be left out; `false` by default. */
  readonly isOptional?: boolean;
}

/** A text that a step takes. */
export interface TextParameter {
  /** The name in the list. */
  readonly name: string;
  /** The most that is allowed, in bytes of UTF-8. */
  readonly maxBytes: number;
  /** Whether it may be left out; `false` by default. */
  readonly isOptional?: boolean;
}

/** The parts of the list of steps. */
export type StepGroup = "handshake" | "messages" | "faults" | "compression" | "end";

/** A step: one entry of the list. */
export type LabStep = StepEffect & {
  /** The segment that names it. */
  readonly name: string;
  /** The number that follows. */
  readonly number?: NumberParameter;
  /** The text that follows, after the number if there is one. */
  readonly text?: TextParameter;
  /** The effect, in one line. */
  readonly help: string;
  /** A path that shows it. */
  readonly example: string;
  /**
   * The part that ends with the step. Behind the last of the messages only a step that meets the close frame can stand, behind
   * the last of the connection none. A step with an optional number ends nothing where the number is given.
   */
  readonly last?: "messages" | "connection";
  /** Adds what the step makes the lab do, as far as that is known before a message comes. */
  readonly load?: (load: ProgramLoad, values: StepArguments) => void;
};

/**
 * Writes how a step is used.
 *
 * @param step The step.
 * @returns Its segments, with those that can be left out in brackets.
 *
 * @example
 * ```ts
 * import { usageOf } from "./step.ts";
 * import { END_STEPS } from "./end_steps.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const close = END_STEPS.find(({ name }) => name === "close");
 * assertEquals(close && usageOf(close), "close/CODE[/REASON]");
 * ```
 */
export function usageOf({ name, number, text }: LabStep): string {
  const segments = [number, text].filter((parameter) => parameter !== undefined);
  return name + segments.map((one) => one.isOptional ? `[/${one.name}]` : `/${one.name}`).join("");
}
