/**
 * A cache for a test of values that most requests share.
 *
 * @module
 */

/** Most cached values: 64. */
export const MAX_KNOWN_VALUES = 64;

/** Longest cached value, in characters: 256. */
export const MAX_KNOWN_CHARS = 256;

/**
 * Caches the values that passed a test which parses a URL: hosts and origins of requests. Most clients of a server name
 * the same few. The cache keeps at most 64 values of at most 256 characters, and no failed one.
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
  /** The last value: most requests repeat it, and comparing takes a third of the time of a `Set`. */
  #last: string | undefined;

  /**
   * Makes an empty cache.
   *
   * @param test Says whether a value passes; a pure function.
   */
  constructor(test: (value: string) => boolean) {
    this.#test = test;
  }

  /**
   * Tests a value.
   *
   * @param value The value.
   * @returns Whether the value passes.
   */
  has(value: string): boolean {
    if (value === this.#last) return true;
    if (!this.#values.has(value)) {
      if (!this.#test(value)) return false;
      if (value.length > MAX_KNOWN_CHARS) return true;
      if (this.#values.size === MAX_KNOWN_VALUES) this.#values.clear();
      this.#values.add(value);
    }
    this.#last = value;
    return true;
  }
}
