/** The log of the server, and a client that proves it. */

import { assertEquals } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import { client, type ServerProcess } from "./command.ts";

/** The next event of a type in the JSON log. */
export async function nextEvent(server: ServerProcess, type: string) {
  while (true) {
    const event = JSON.parse(await within(server.nextLine(), "line of the log", { timeoutMs: 60_000 }));
    if (event.type === type) return event;
  }
}

export async function assertProven(...args: string[]): Promise<void> {
  const outcome = await client(args);
  assertEquals(outcome.code, 0, outcome.stdout + outcome.stderr);
}
