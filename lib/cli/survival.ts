/**
 * How a server outlives an error that nobody caught.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";

/**
 * Says whether this is a worker, a thread that another one has started: a module is the main one there too.
 *
 * @returns Whether it is one.
 *
 * @example
 * ```ts
 * import { isWorker } from "./survival.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(typeof isWorker(), "boolean");
 * ```
 */
export function isWorker(): boolean {
  return "DedicatedWorkerGlobalScope" in globalThis;
}

/**
 * Keeps the process alive when an error comes out of the runtime where no handler of ours could catch it: others use the server.
 * It changes the whole process, so that only the program itself may call it, once.
 *
 * @param tell Told what the error says.
 *
 * @example
 * ```ts ignore
 * import { surviveErrors } from "./survival.ts";
 *
 * surviveErrors((error) => console.error(error));
 * ```
 */
export function surviveErrors(tell: (error: string) => void): void {
  globalThis.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    tell(messageOf(event.reason));
  });
  globalThis.addEventListener("error", (event) => {
    event.preventDefault();
    tell(messageOf(event.error ?? event.message));
  });
}
