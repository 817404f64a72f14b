/** An echo client that keeps every rule of the lab's cases, except for one fault that a test adds. */

import { openConnection } from "../../lib/connection/open.ts";
import { acceptKeyFor } from "../../lib/protocol/handshake.ts";
import { HeadReader } from "../../lib/protocol/http.ts";
import { encodeHead, type HttpHead, listOf, parseStatusLine, valuesOf } from "../../lib/protocol/http_lines.ts";
import { type Fault, Session } from "./mutant_server.ts";

/** The deviations of a mutant. */
export interface ClientFault extends Fault {
  /** Makes masking keys; random by default. */
  readonly mask?: () => Uint8Array;
  /** Makes handshake keys; random by default. */
  readonly key?: () => string;
  /** Changes the request fields. */
  readonly request?: (fields: [string, string][]) => [string, string][];
}

const random = (bytes: number) => crypto.getRandomValues(new Uint8Array(bytes));

/** Runs a case. */
export async function visitCase(url: string, number: string, fault: ClientFault): Promise<void> {
  const query = `?casetuple=${encodeURIComponent(number)}&agent=mutant`;
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  connection.setNoDelay(true);
  try {
    const visited = visitOnce(connection, `/runCase${query}`, fault);
    // A client that keeps TCP open leaves after its judgement.
    if (fault.ignores?.includes("their-end")) await Promise.race([visited, judged(`${url}getCaseStatus${query}`)]);
    else await visited;
  } catch {
    // The lab judges it.
  } finally {
    connection.close();
  }
}

/** Waits until the lab has judged a case. */
async function judged(url: string): Promise<void> {
  const connection = await openConnection(url, "wire");
  await connection.receive({ timeoutMs: 60_000 });
  await connection.close();
}

async function visitOnce(connection: Deno.Conn, target: string, fault: ClientFault): Promise<void> {
  const key = fault.key?.() ?? random(16).toBase64();
  const fields: [string, string][] = [
    ["Host", "127.0.0.1"],
    ["Upgrade", "websocket"],
    ["Connection", "Upgrade"],
    ["Sec-WebSocket-Version", "13"],
    ["Sec-WebSocket-Key", key],
    ["Sec-WebSocket-Extensions", "permessage-deflate; client_max_window_bits"],
  ];
  const head = encodeHead(`GET ${target} HTTP/1.1`, fault.request?.(fields) ?? fields);
  for (let at = 0; at < head.byteLength;) at += await connection.write(head.subarray(at));
  const reader = new HeadReader("response");
  const buffer = new Uint8Array(64 * 1024);
  let complete;
  for (let reads = 0; complete === undefined; reads++) {
    if (reads > 0 && fault.ignores?.includes("head-pieces")) return;
    const read = await connection.read(buffer);
    if (read === null) return;
    complete = reader.push(buffer.subarray(0, read));
  }
  const ignores = (rule: string) => fault.ignores?.includes(rule) ?? false;
  const problem = await problemOf(complete.head, key, ignores);
  if (problem !== undefined && !ignores(problem)) {
    if (ignores("their-end")) await new Promise(() => {});
    return;
  }
  const isDeflated = listOf(complete.head, "sec-websocket-extensions").some((value) => /^permessage-/.test(value));
  const early = ignores("early") ? new Uint8Array(0) : complete.rest;
  await new Session(connection, { deflate: {}, ...fault }, isDeflated, fault.mask ?? (() => random(4))).run(
    early,
    buffer,
  );
}

/** The rule that an answer breaks, real or invented. */
async function problemOf(
  head: HttpHead,
  key: string,
  ignores: (rule: string) => boolean,
): Promise<string | undefined> {
  const status = parseStatusLine(head.startLine);
  if (status?.status !== 101) return "status";
  if (status.version !== "1.1") return "version";
  if (valuesOf(head, "upgrade").join().toLowerCase() !== "websocket") return "upgrade";
  if (!listOf(head, "connection").some((word) => word.toLowerCase() === "upgrade")) return "connection";
  const accept = valuesOf(head, "sec-websocket-accept");
  if (accept.length === 0) return "no-accept";
  if (accept[0] !== await acceptKeyFor(key)) return "accept";
  if (valuesOf(head, "sec-websocket-protocol").length > 0) return "protocol";
  const [extension] = listOf(head, "sec-websocket-extensions");
  if (extension !== undefined && !/^permessage-deflate/.test(extension)) return "extension";
  const wrong = wrongParameter(extension);
  if (wrong !== undefined) return wrong;
  const strange: readonly (readonly [rule: string, isBroken: boolean])[] = [
    ["case-of-names", !head.fields.some(([name]) => name === "Upgrade")],
    ["case-of-upgrade", valuesOf(head, "upgrade")[0] !== "websocket"],
    ["case-of-connection", !listOf(head, "connection").includes("Upgrade")],
    ["lists", listOf(head, "connection").length > 1],
    ["many-fields", head.fields.length > 20],
    ["long-fields", head.fields.some(([, value]) => value.length > 4096)],
    ["no-words", !/ 101 \S/.test(head.startLine)],
  ];
  return strange.some(([rule, isBroken]) => isBroken && ignores(rule)) ? "strange" : undefined;
}

const PARAMETER = /^((server|client)_no_context_takeover|(server|client)_max_window_bits=([89]|1[0-5]))$/;

/** The rule that permessage-deflate parameters break. */
function wrongParameter(extension = ""): string | undefined {
  const [, ...parameters] = extension.split(";").map((part) => part.trim());
  if (new Set(parameters).size < parameters.length) return "doubled";
  const wrong = parameters.find((parameter) => !PARAMETER.test(parameter));
  if (wrong === undefined) return undefined;
  return /^x-/.test(wrong) ? "unknown" : /takeover=/.test(wrong) ? "flag" : /=/.test(wrong) ? "range" : "bits";
}
