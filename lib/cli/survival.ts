/**
 * Keeps a server alive after an uncaught error.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";

/**
 * Tells whether this is a worker: `import.meta.main` is true there too.
 *
 * @returns Whether it is.
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
 * Keeps the process alive after an error of the runtime that no handler can catch: other clients use the server. This
 * changes the whole process, so only the program itself may call this, once.
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
