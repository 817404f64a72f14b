/**
 * What was found out once about a value that nearly every request has alike.
 *
 * @module
 */

/** How many values are known at most: 64. */
export const MAX_KNOWN_VALUES = 64;

/** The longest value that is remembered, in characters: 256. */
export const MAX_KNOWN_CHARS = 256;

/**
 * The values that have passed a test which takes a URL: the hosts and the origins of requests. Most clients of a server name
 * the same few. It remembers 64 values of at most 256 characters, and none that has failed.
 *
 * @example
 * ```ts
 * import { Known } from "./known.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const hosts = new Known((text) => URL.canParse(`http://${text}/`));
 * assertEquals([hosts.has("a.example"), hosts.has("a b"), hosts.has("a.example")], [true, false, true]);
 * ```
 */
export class Known {
  readonly #test: (value: string) => boolean;
  readonly #values = new Set<string>();

  /**
   * Knows nothing yet.
   *
   * @param test Says whether a value passes, always the same of the same.
   */
  constructor(test: (value: string) => boolean) {
    this.#test = test;
  }

  /**
   * Says whether a value passes.
   *
   * @param value The value.
   * @returns Whether it does.
   */
  has(value: string): boolean {
    if (this.#values.has(value)) return true;
    if (!this.#test(value)) return false;
    if (value.length > MAX_KNOWN_CHARS) return true;
    if (this.#values.size === MAX_KNOWN_VALUES) this.#values.clear();
    this.#values.add(value);
    return true;
  }
}
