/**
 * A client: sends a question, waits for the answer, and proves that the server confirmed the close.
 *
 * ```sh
 * deno run $(deno task -q std:flags) --allow-net examples/client.ts ws://127.0.0.1:6455/ "Are you there?"
 * ```
 */

import { describeEnd, verifyClose } from "../lib/protocol/mod.ts";
import { openConnection } from "../mod.ts";

const [url = "ws://127.0.0.1:6455/", question = "Are you there?"] = Deno.args;

async function ask(): Promise<string> {
  // Every wait has a deadline. Without one, a server that never answers holds this program for ever.
  const timeoutMs = 5000;
  const connection = await openConnection(url, "wire", { connectTimeoutMs: timeoutMs });
  try {
    await connection.send(question, { timeoutMs });
    const answer = await connection.receive({ timeoutMs });

    // Only the peer's own close frame proves that nothing was lost on the way.
    const record = await connection.close({ code: 1000, timeoutMs });
    if (verifyClose(record, { code: 1000 }) !== "confirmed") throw new Error(describeEnd(record));
    return typeof answer === "string" ? answer : `${answer.byteLength} bytes`;
  } finally {
    // After an error the connection is still open. A second close does nothing.
    await connection.close({ timeoutMs });
  }
}

try {
  console.log(await ask());
} catch (error) {
  // OpenError, ConnectionClosedError, ProtocolError and TimeoutError each say in one line what happened.
  console.error(error instanceof Error ? error.message : error);
  Deno.exit(1);
}
