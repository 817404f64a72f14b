/**
 * Random mutations of heads against the real servers: none ends a process, stays without an answer or gets a wrong
 * upgrade. The seed is fixed; for another, and for more heads:
 *
 * ```sh
 * deno test -A tests/e2e/head_fuzz_test.ts -- --seed=7 --heads=20000
 * ```
 */

import { assert, assertEquals } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import { handlerProcess, type ServerProcess, serverProcess } from "../support/command.ts";
import { connectRaw } from "../support/raw_peer.ts";
import { mutatedHead, randomFrom, wrongAbout } from "../support/heads.ts";

const WAIT = { timeoutMs: 60_000 };
const [SEED, HEADS] = [numberOf("seed", 6455), numberOf("heads", 400)];
const AT_ONCE = 16;
const HOSTS = "127.0.0.1 localhost [::1]";

function numberOf(name: string, otherwise: number): number {
  const word = Deno.args.find((each) => each.startsWith(`--${name}=`));
  return word === undefined ? otherwise : Number(word.slice(name.length + 3));
}

/** Sends a head and ends its own side; returns the bytes, or the first lines, before the server ends too. */
async function answerTo(url: string, head: string): Promise<string> {
  const socket = await connectRaw(url);
  try {
    await socket.write(Uint8Array.from(head, (char) => char.charCodeAt(0)));
    await socket.closeWrite();
    return await within(socket.readHead(), "answer", WAIT);
  } catch (error) {
    // Without an answer the connection must end.
    if (error instanceof Error && error.name === "TimeoutError") throw error;
    return "";
  } finally {
    socket.close();
  }
}

/** Fuzzes a server that by default ends at a signal, and accepts only requests that name its own host. */
async function fuzz(server: ServerProcess, { ends = true, checksHost = true } = {}): Promise<void> {
  const random = randomFrom(SEED);
  const found: string[] = [];
  let statuses = 0;
  for (let sent = 0; sent < HEADS; sent += AT_ONCE) {
    const heads = Array.from({ length: AT_ONCE }, () => mutatedHead(random));
    await Promise.all(heads.map(async (head) => {
      const answer = await answerTo(server.url, head);
      const [, status] = /^HTTP\/1\.[01] (\d{3}) /.exec(answer) ?? [];
      if (status !== undefined) statuses++;
      if (answer !== "" && status === undefined) found.push(`${JSON.stringify(head)} gets ${answer}`);
      const wrong = (status === "101" ? wrongAbout(head) : []).filter((field) => checksHost || field !== "Host");
      if (wrong.length > 0) found.push(`${JSON.stringify(head)} is upgraded: ${wrong}`);
    }));
  }
  assertEquals(found, [], `seed ${SEED}`);
  // Otherwise the heads would not have reached the server.
  assert(statuses > HEADS / 4);
  const answer = await fetch(server.url.replace("ws:", "http:"), { signal: AbortSignal.timeout(WAIT.timeoutMs) });
  await answer.body?.cancel();
  assert(answer.ok || answer.status === 404);
  // At a signal, `deno serve` waits forever for upgraded peers that left without a close frame.
  if (Deno.build.os === "windows" || !ends) return;
  server.child.kill("SIGTERM");
  assertEquals(await server.ended(), { code: 0, stderr: "" }, `seed ${SEED}`);
}

for (
  const [name, start, options] of [
    ["server (builtin)", () => serverProcess("-q", "--shutdown-timeout", "2"), {}],
    ["server (wire)", () => serverProcess("-q", "--shutdown-timeout", "2", "--transport", "wire"), {}],
    ["server --lab", () => serverProcess("-q", "--lab"), { checksHost: false }],
    ["handler", () => handlerProcess({ WSPROOF_LOG: "none", WSPROOF_ALLOW_HOST: HOSTS }), { ends: false }],
  ] as const
) {
  Deno.test(`${name} survives randomly changed heads, and upgrades no wrong one`, async () => {
    await using server = await start();
    await fuzz(server, options);
  });
}
