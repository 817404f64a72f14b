/**
 * Tells unpredictable keys from constant, counted or repeated ones.
 *
 * @module
 */

/** The fewest keys to judge: 4. */
const MIN_KEYS = 4;

/** The most repeated masking keys by chance: 2. A third is none, as 8,192 keys of 32 bits have 0.008 on average. */
const MAX_REPEATED = 2;

/**
 * Finds a pattern in the masking keys of a client (RFC 6455 sections 5.3 and 10.3).
 *
 * @param own The keys of one connection, in order.
 * @param all The keys of all connections.
 * @returns The pattern, in words; `undefined` for none, or for fewer than 4 keys.
 *
 * @example
 * ```ts
 * import { maskProblem } from "./randomness.ts";
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(maskProblem([7, 7, 7, 7], []), "all 4 masking keys are 00000007");
 * assertEquals(maskProblem([1, 2, 3, 4], []), "the masking keys count up by 1");
 * assertEquals(maskProblem([0x5a1f, 0x99, 0x3b2c1d, 0x42], []), undefined);
 * ```
 */
export function maskProblem(own: readonly number[], all: readonly number[]): string | undefined {
  if (own.length >= MIN_KEYS) {
    const [first = 0] = own;
    if (own.every((key) => key === first)) {
      return `all ${own.length} masking keys are ${first.toString(16).padStart(8, "0")}`;
    }
    const step = stepOf(own.map(BigInt), 32) ?? stepOf(own.map((key) => BigInt(turned(key))), 32);
    if (step !== undefined) return `the masking keys count up ${step}`;
  }
  const repeated = all.length - new Set(all).size;
  return repeated > MAX_REPEATED ? `${repeated} of ${all.length} masking keys have appeared before` : undefined;
}

/**
 * Finds a pattern in the keys of opening handshakes (RFC 6455 section 4.1).
 *
 * @param keys The values of Sec-WebSocket-Key, in order.
 * @returns The pattern, in words; `undefined` for none.
 *
 * @example
 * ```ts
 * import { keyProblem } from "./randomness.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const key = "dGhlIHNhbXBsZSBub25jZQ==";
 * assertEquals(keyProblem([key, key]), `1 of 2 keys has appeared before: ${key}`);
 * assertEquals(keyProblem([key]), undefined);
 * ```
 */
export function keyProblem(keys: readonly string[]): string | undefined {
  const seen = new Set<string>();
  const repeated = keys.filter((key) => seen.has(key) || !seen.add(key));
  if (repeated.length > 0) {
    const has = repeated.length === 1 ? "has" : "have";
    return `${repeated.length} of ${keys.length} keys ${has} appeared before: ${repeated[0]}`;
  }
  if (keys.length < MIN_KEYS) return undefined;
  const numbers = keys.map(numberOf);
  const known = numbers.filter((number) => number !== undefined);
  const step = known.length === keys.length ? stepOf(known, 128) : undefined;
  return step === undefined ? undefined : `the keys count up ${step}`;
}

function numberOf(key: string): bigint | undefined {
  try {
    return BigInt(`0x${Uint8Array.fromBase64(key).toHex()}`);
  } catch {
    return undefined;
  }
}

/** A 32-bit key in reverse byte order. */
function turned(key: number): number {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, key);
  return view.getUint32(0, true);
}

/** Numbers that grow by less than this are counted: 4 random ones do so once in 6 * 10^10. */
const MAX_STEP = 1n << 20n;

/**
 * Describes the step between the numbers, modulo 2^bits: constant, or small as with a shared counter; `undefined` for
 * none.
 */
function stepOf(numbers: readonly bigint[], bits: number): string | undefined {
  const steps = numbers.slice(1).map((number, index) => BigInt.asUintN(bits, number - (numbers[index] ?? 0n)));
  const [first = 0n] = steps;
  if (steps.every((step) => step === first)) return `by ${first}`;
  const most = steps.reduce((most, step) => step > most ? step : most, 0n);
  return most < MAX_STEP ? `by at most ${most}` : undefined;
}
