/**
 * A step of the lab: one or a few segments of a path that ask for one behavior.
 *
 * @module
 */

import type { DeflateAgreement } from "../protocol/deflate.ts";
import type { Extension } from "../protocol/extension.ts";
import type { ProgramLoad } from "./load.ts";
import type { LabPeer } from "./peer.ts";

/** The answer to the opening handshake, which the steps change before sending. */
export interface HandshakeAnswer {
  /** The first line. */
  startLine: string;
  /** The fields, by name. */
  readonly fields: Map<string, string>;
  /** The extensions that the client offers. */
  readonly offers: readonly Extension[];
  /** The compression; `undefined` until a step accepts an offer. */
  deflate: DeflateAgreement | undefined;
  /** The part to send: 1 for all. */
  portion: number;
  /** Delay before each line, in milliseconds; 0 sends all together. */
  linePauseMs: number;
  /** The state after the answer: an open WebSocket connection, silence, or the end. */
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
  /** Changes the answer to the handshake; such steps come first in a path. */
  | { readonly on: "handshake"; readonly run: (answer: HandshakeAnswer, values: StepArguments) => void }
  /** Acts in its turn, or shapes later messages. */
  | { readonly on: "turn"; readonly run: (peer: LabPeer, values: StepArguments) => Promise<void> | void }
  /** Answers the client's close frame, at any place in a path. */
  | { readonly on: "close"; readonly run: (peer: LabPeer, values: StepArguments) => Promise<void> };

/** A number that a step takes. */
export interface NumberParameter {
  /** The name in the list, with the unit. */
  readonly name: string;
  /** The minimum. */
  readonly min: number;
  /** The maximum. */
  readonly max: number;
  /** A forbidden part of the range. */
  readonly except?: { readonly min: number; readonly max: number };
  /** Whether it may be left out; `false` by default. */
  readonly isOptional?: boolean;
}

/** A text that a step takes. */
export interface TextParameter {
  /** The name in the list. */
  readonly name: string;
  /** The maximum, in bytes of UTF-8. */
  readonly maxBytes: number;
  /** Whether it may be left out; `false` by default. */
  readonly isOptional?: boolean;
}

/** The groups of the list. */
export type StepGroup = "handshake" | "messages" | "faults" | "compression" | "end";

/** A step: one entry of the list. */
export type LabStep = StepEffect & {
  /** The segment that names the step. */
  readonly name: string;
  /** The number that follows. */
  readonly number?: NumberParameter;
  /** The text that follows, after any number. */
  readonly text?: TextParameter;
  /** The effect, in one line. */
  readonly help: string;
  /** An example, as a path. */
  readonly example: string;
  /**
   * The part that ends with the step. After the last of the messages, only a step that answers the close frame may
   * follow; after the last of the connection, none. With its optional number, a step ends nothing.
   */
  readonly last?: "messages" | "connection";
  /** Adds the load of the step, as far as known before a message arrives. */
  readonly load?: (load: ProgramLoad, values: StepArguments) => void;
};

/**
 * Describes the usage of a step.
 *
 * @param step The step.
 * @returns Its segments, with optional ones in brackets.
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
