/** A worker that dies on command from a channel: it throws an uncaught error, ends, fills its heap, or hangs. */

import { workerData } from "node:worker_threads";
import { work } from "../../lib/server/workers_thread.ts";
import type { WorkerStart } from "../../lib/server/workers_messages.ts";

/** The channel of all workers. */
export const CHANNEL = "mortal workers";

/** The worker to kill, from 0, and its death. */
export interface Death {
  readonly index: number;
  readonly way: "throw" | "fill" | "exit" | "hang";
}

if (workerData !== null) {
  const { index }: WorkerStart = workerData;
  new BroadcastChannel(CHANNEL).onmessage = ({ data }: MessageEvent<Death>) => {
    if (data.index !== index) return;
    if (data.way === "exit") Deno.exit(3);
    // An endless loop, as seen from outside.
    if (data.way === "hang") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
    setTimeout(() => {
      if (data.way === "throw") throw new Error("Thrown as told");
      const all: unknown[] = [];
      while (true) all.push({ number: all.length, text: `${all.length}` });
    });
  };
  await work(() => {});
}
