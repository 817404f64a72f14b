/** permessage-deflate of a mutant server, which inflates messages and answers uncompressed, as a server may. */

import { constants, inflateRawSync } from "node:zlib";
import { type HttpHead, valuesOf } from "../../lib/protocol/http_lines.ts";
import { concatBytes } from "../../lib/protocol/message.ts";

/** Deviations. */
export interface DeflateFault {
  /** Broken rules, by the names below. */
  readonly ignores?: readonly string[];
  /** Extra parameters of the answer. */
  readonly adds?: string;
}

const PARAMETERS: Record<string, RegExp> = {
  server_no_context_takeover: /^$/,
  client_no_context_takeover: /^$/,
  server_max_window_bits: /^=([89]|1[0-5])$/,
  client_max_window_bits: /^(=([89]|1[0-5]))?$/,
};

/** Chooses among the offers; returns the field value of the answer, or `undefined`. */
export function negotiate(head: HttpHead, fault: DeflateFault): string | undefined {
  const ignores = (rule: string) => fault.ignores?.includes(rule) ?? false;
  const offers = valuesOf(head, "sec-websocket-extensions").flatMap((value) => value.split(","));
  for (const offer of offers) {
    const [name, ...parameters] = offer.split(";").map((part) => part.trim());
    if (name !== "permessage-deflate") continue;
    const names = parameters.map((parameter) => parameter.replace(/=.*/, ""));
    const isRight = parameters.every((parameter, index) =>
      PARAMETERS[names[index] ?? ""]?.test(parameter.slice(names[index]?.length)) &&
      names.indexOf(names[index] ?? "") === index
    );
    if (!isRight && !ignores("offers")) continue;
    const taken = parameters.filter((parameter) =>
      /^server_/.test(parameter) && !ignores(parameter.replace(/=.*/, ""))
    );
    return ["permessage-deflate", ...taken, ...fault.adds === undefined ? [] : [fault.adds]].join("; ");
  }
  return undefined;
}

const TAIL = Uint8Array.of(0, 0, 0xff, 0xff);

/** Inflates message after message. */
export class MutantInflater {
  readonly #fault: DeflateFault;
  #before: Uint8Array<ArrayBuffer> = new Uint8Array(0);

  constructor(fault: DeflateFault) {
    this.#fault = fault;
  }

  /** Inflates a message; throws if it is invalid. */
  inflate(message: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    // A final block is like any other: the stream restarts after the block, with the same window.
    const ignores = (rule: string) => this.#fault.ignores?.includes(rule) ?? false;
    const old = ignores("context") ? new Uint8Array(0) : this.#before;
    const skip = this.#inflated(old).byteLength;
    const all = concatBytes([old, message, TAIL], old.byteLength + message.byteLength + TAIL.byteLength);
    const made = this.#inflated(all).slice(skip);
    const isFinal = ((message[0] ?? 0) & 1) === 1;
    if (!isFinal || ignores("final-block")) this.#before = all;
    return made;
  }

  #inflated(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    return new Uint8Array(inflateRawSync(bytes, { finishFlush: constants.Z_SYNC_FLUSH }));
  }
}
