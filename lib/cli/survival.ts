/**
 * The survival of a server when nobody catches an error.
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
 * Keeps the process alive when the runtime throws an error that no handler of ours can catch: other clients use the server.
 * This changes the whole process, so only the program itself may call this, once.
 *
 * @param tell Takes the message of each such error.
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
