/** A worker that dies when a channel tells it to: it throws where nobody catches it, or fills its heap. */

import { workerData } from "node:worker_threads";
import { work } from "../../lib/server/workers_thread.ts";
import type { WorkerStart } from "../../lib/server/workers_messages.ts";

/** The channel that all of them listen to. */
export const CHANNEL = "mortal workers";

/** Which worker is to die, from 0, and how. */
export interface Death {
  readonly index: number;
  readonly way: "throw" | "fill" | "exit";
}

if (workerData !== null) {
  const { index }: WorkerStart = workerData;
  new BroadcastChannel(CHANNEL).onmessage = ({ data }: MessageEvent<Death>) => {
    if (data.index !== index) return;
    if (data.way === "exit") Deno.exit(3);
    setTimeout(() => {
      if (data.way === "throw") throw new Error("Thrown as told");
      const all: unknown[] = [];
      while (true) all.push({ number: all.length, text: `${all.length}` });
    });
  };
  await work(() => {});
}
