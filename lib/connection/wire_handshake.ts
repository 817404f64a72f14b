/**
 * The opening handshake over a connection of our own (RFC 6455 section 4.1).
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";
import {
  acceptKeyFor,
  createKey,
  encodeRequest,
  parseHead,
  type UpgradeRequest,
  verifyResponse,
} from "../protocol/handshake.ts";
import { readHead, refusalOf, statusText } from "../net/answer.ts";
import { USER_AGENT, writeAll } from "../net/dial.ts";
import { type HandshakeRefusal, OpenError, type OpenOptions, OptionError } from "./connection.ts";

export async function upgrade(
  tcp: Deno.Conn,
  url: URL,
  { protocols = [], headers = [] }: OpenOptions,
): Promise<{ protocol: string; rest: Uint8Array<ArrayBuffer> }> {
  const key = createKey();
  const fields = [...headers];
  if (!fields.some(([name]) => name.toLowerCase() === "user-agent")) fields.unshift(["User-Agent", USER_AGENT]);
  const request = requestFor({ url, key, protocols, headers: fields });
  try {
    await writeAll(tcp, request);
  } catch {
    // The answer, or the end of the connection, says why.
  }
  const answer = await readHead(tcp);
  const { bytes, bodyAt } = answer;
  let head;
  try {
    head = parseHead(bytes.subarray(0, bodyAt));
  } catch (error) {
    const problem = messageOf(error);
    throw refused(refusalOf(answer, undefined, 0, [problem], "server"));
  }
  const { status, protocol, problems } = verifyResponse(head, { acceptKey: await acceptKeyFor(key), protocols });
  if (problems.length > 0) throw refused(refusalOf(answer, head, status, problems, "server"));
  return { protocol, rest: bytes.subarray(bodyAt) };
}

/** The head as it goes out: one byte a character. */
function requestFor(request: UpgradeRequest): Uint8Array {
  try {
    return Uint8Array.from(encodeRequest(request), (char) => char.charCodeAt(0));
  } catch (error) {
    throw new OptionError(`Cannot ask for the upgrade: ${messageOf(error)}`);
  }
}

function refused(refusal: HandshakeRefusal): OpenError {
  const { status, problems } = refusal;
  const message = status === 101 || status === 0
    ? `Answer is not a valid upgrade: ${problems.join("; ")}`
    : `Server answered with ${statusText(status)} instead of 101`;
  return new OpenError("handshake-refused", message, { refusal });
}
