/**
 * The opening handshake over our own connection (RFC 6455 section 4.1).
 *
 * @module
 */

import { canCompress } from "../net/zlib.ts";
import { DEFLATE, type DeflateAgreement, formatDeflate } from "../protocol/deflate.ts";
import { messageOf } from "../protocol/error.ts";
import { acceptKeyFor, createKey, encodeRequest, type UpgradeRequest, verifyResponse } from "../protocol/handshake.ts";
import { bytesOf } from "../protocol/http_lines.ts";
import { type Answer, readAnswer, refusalOf, statusText } from "../net/answer.ts";
import { USER_AGENT, writeAll } from "../net/dial.ts";
import { OPEN_FAILURE_TEXT } from "../net/failure.ts";
import { type HeadTrace, OpenError, type OpenOptions, OptionError } from "./connection.ts";

/**
 * Requests the upgrade, and verifies the answer.
 *
 * @param tcp The connection.
 * @param url The URL.
 * @param options The subprotocols and fields to send.
 * @param deadline The end of the connect timeout, on the clock of `performance.now()`.
 * @returns The selected subprotocol, the agreed compression, and the bytes that arrived behind the answer.
 * @throws {OpenError} If there is no answer, or no valid upgrade (RFC 6455 section 4.1).
 * @throws {OptionError} If an option cannot be sent unchanged.
 */
export async function upgrade(
  tcp: Deno.Conn,
  url: URL,
  { protocols = [], headers = [], onHead, deflate, requireDeflate = false }: OpenOptions,
  deadline: number,
): Promise<{ protocol: string; deflate: DeflateAgreement | undefined; rest: Uint8Array<ArrayBuffer> }> {
  if (deflate && !canCompress()) {
    throw new OptionError("The zlib of this runtime cannot be used: nothing can be compressed");
  }
  const key = createKey();
  const fields = [...headers];
  if (!fields.some(([name]) => name.toLowerCase() === "user-agent")) fields.unshift(["User-Agent", USER_AGENT]);
  const request = requestFor({ url, key, protocols, headers: fields, extensions: deflate && formatDeflate(deflate) });
  onHead?.({ direction: "out", ...linesOf(request) });
  try {
    await writeAll(tcp, bytesOf(request));
  } catch {
    // The answer or the end of the connection shows the cause.
  }
  const answer = await readAnswer(tcp);
  onHead?.({ direction: "in", ...answer.head });
  if (answer.problem !== "") throw await refused(tcp, answer, unreadableProblems(answer), deadline);
  const expected = { acceptKey: acceptKeyFor(key), protocols, deflate };
  const { protocol, deflate: agreement, problems } = verifyResponse(answer.head, expected);
  const isDeclined = requireDeflate && agreement === undefined && problems.length === 0;
  const all = isDeclined ? [`the server has declined ${DEFLATE}`] : problems;
  if (all.length > 0) throw await refused(tcp, answer, all, deadline);
  return { protocol, deflate: agreement, rest: answer.rest };
}

function requestFor(request: UpgradeRequest): string {
  try {
    return encodeRequest(request);
  } catch (error) {
    throw new OptionError(`Cannot ask for the upgrade: ${messageOf(error)}`);
  }
}

/** Splits our own head into request line and fields. */
function linesOf(request: string): Pick<HeadTrace, "startLine" | "fields"> {
  const [startLine = "", ...lines] = request.split("\r\n").filter((line) => line !== "");
  return { startLine, fields: lines.map((line) => [line.replace(/:.*/s, ""), line.replace(/^[^:]*:\s*/, "")]) };
}

function unreadableProblems({ status, problem }: Answer): string[] {
  return isRefusal(status) ? [`status ${status} instead of 101`, problem] : [problem];
}

/** Whether the status alone refuses the upgrade. */
function isRefusal(status: number): boolean {
  return status >= 200;
}

async function refused(
  tcp: Deno.Conn,
  answer: Answer,
  problems: readonly string[],
  deadline: number,
): Promise<OpenError> {
  const { status, problem, isTls } = answer;
  const message = isRefusal(status)
    ? `Server answered with ${statusText(status)} instead of 101${problem && `; ${problem}`}`
    : `${OPEN_FAILURE_TEXT["handshake-refused"]}: ${problems.join("; ")}`;
  const refusal = await refusalOf(tcp, answer, { from: "server", problems, deadline });
  const isSubprotocol = problems.every((each) => each.includes("subprotocol"));
  const reason = isTls ? "tls-server" : isSubprotocol ? "subprotocol" : "other";
  return new OpenError("handshake-refused", message, { refusal, reason });
}
