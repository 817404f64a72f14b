/** An echo client that keeps every rule of the lab's cases, except those that a test removes, one at a time. */

import { type Fault, Session } from "./mutant_server.ts";
import { acceptKeyFor } from "../../lib/protocol/handshake.ts";
import { HeadReader } from "../../lib/protocol/http.ts";
import { encodeHead, type HttpHead, listOf, parseStatusLine, valuesOf } from "../../lib/protocol/http_lines.ts";

/** The deviations of a mutant. */
export interface ClientFault extends Fault {
  /** Makes masking keys; random by default. */
  readonly mask?: () => Uint8Array;
  /** Makes the key of a handshake; random by default. */
  readonly key?: () => string;
  /** Changes the fields of the request. */
  readonly request?: (fields: [string, string][]) => [string, string][];
  /** The number of immediate returns after a connection without a close frame. */
  readonly returns?: number;
}

const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes));

/** Runs a case. */
export async function visitCase(url: string, number: string, fault: ClientFault): Promise<void> {
  for (let visit = 0; visit <= (fault.returns ?? 0); visit++) {
    const { hostname, port } = new URL(url);
    const connection = await Deno.connect({ hostname, port: Number(port) });
    connection.setNoDelay(true);
    try {
      await visitOnce(connection, `/runCase?casetuple=${encodeURIComponent(number)}&agent=mutant`, fault);
    } catch {
      // The lab judges.
    } finally {
      connection.close();
    }
  }
}

async function visitOnce(connection: Deno.Conn, target: string, fault: ClientFault): Promise<void> {
  const key = fault.key?.() ?? random(16).toBase64();
  const fields: [string, string][] = [
    ["Host", "127.0.0.1"],
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Version", "13"],
    ["Sec-WebSocket-Key", key],
  ];
  const head = encodeHead(`GET ${target} HTTP/1.1`, fault.request?.(fields) ?? fields);
  for (let at = 0; at < head.byteLength;) at += await connection.write(head.subarray(at));
  const reader = new HeadReader("response");
  const buffer = new Uint8Array(64 * 1024);
  let complete;
  while (complete === undefined) {
    const read = await connection.read(buffer);
    if (read === null) return;
    complete = reader.push(buffer.subarray(0, read));
  }
  const problem = await problemOf(complete.head, key);
  if (problem !== undefined && !fault.ignores?.includes(problem)) return;
  await new Session(connection, fault, false, fault.mask ?? (() => random(4))).run(complete.rest, buffer);
}

/** The rule that an answer breaks. */
async function problemOf(head: HttpHead, key: string): Promise<string | undefined> {
  const status = parseStatusLine(head.startLine);
  if (status?.status !== 101) return "status";
  if (status.version !== "1.1") return "version";
  if (valuesOf(head, "upgrade").join().toLowerCase() !== "websocket") return "upgrade";
  if (!listOf(head, "connection").some((word) => word.toLowerCase() === "upgrade")) return "connection";
  const accept = valuesOf(head, "sec-websocket-accept");
  if (accept.length === 0) return "no-accept";
  if (accept[0] !== await acceptKeyFor(key)) return "accept";
  if (valuesOf(head, "sec-websocket-protocol").length > 0) return "protocol";
  return valuesOf(head, "sec-websocket-extensions").length > 0 ? "extension" : undefined;
}
