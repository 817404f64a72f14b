/**
 * The transport, and the limit that depends on it.
 *
 * @module
 */

import type { Option, Source } from "./options.ts";
import { MAX_BUILTIN_FRAME_BYTES, MAX_WIRE_MESSAGE_BYTES, type TransportName } from "../connection/connection.ts";

/** The values of `--transport`. */
export const TRANSPORTS: readonly TransportName[] = ["builtin", "wire"];

/**
 * Reads the longest message, within the transport's limit.
 *
 * @param source The source of the option.
 * @param option The option.
 * @param transport The transport.
 * @returns The size in bytes; `undefined` if it was not given.
 * @throws {UsageError} If the transport takes no message of this size.
 */
export function readMaxMessage(source: Source, option: Option<number>, transport: TransportName): number | undefined {
  const bytes = source.value(option);
  const most = transport === "wire" ? MAX_WIRE_MESSAGE_BYTES : MAX_BUILTIN_FRAME_BYTES;
  if (bytes !== undefined && bytes > most) throw source.refusal(option, `give at most ${most} bytes over ${transport}`);
  return bytes;
}
