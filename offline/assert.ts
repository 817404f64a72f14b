/**
 * Stand-in for `@std/assert` where JSR cannot be reached: the same names over `node:assert`.
 *
 * @module
 */

import nodeAssert from "node:assert/strict";

/**
 * Asserts that a value is true.
 *
 * @param value The value.
 * @param message The message otherwise.
 */
export function assert(value: unknown, message?: string): asserts value {
  nodeAssert.ok(value, message);
}

/**
 * Asserts that a value is false.
 *
 * @param value The value.
 * @param message The message otherwise.
 */
export function assertFalse(value: unknown, message?: string): void {
  nodeAssert.ok(!value, message ?? "Expected a value that is false");
}

/**
 * Asserts that two values are deeply equal.
 *
 * @param actual The value.
 * @param expected The expected value.
 * @param message The message otherwise.
 */
export function assertEquals<T>(actual: T, expected: T, message?: string): void {
  try {
    nodeAssert.deepEqual(actual, expected);
  } catch (error) {
    // The caller's message does not replace the difference.
    if (message !== undefined && error instanceof Error) error.message = `${message}\n${error.message}`;
    throw error;
  }
}

/**
 * Asserts that text matches a pattern.
 *
 * @param actual The text.
 * @param expected The pattern.
 * @param message The message otherwise.
 */
export function assertMatch(actual: string, expected: RegExp, message?: string): void {
  nodeAssert.match(actual, expected, message);
}

/**
 * Asserts that text contains other text.
 *
 * @param actual The text.
 * @param expected The expected part.
 * @param message The message otherwise.
 */
export function assertStringIncludes(actual: string, expected: string, message?: string): void {
  nodeAssert.ok(
    actual.includes(expected),
    message ?? `Expected ${JSON.stringify(actual)} to contain ${JSON.stringify(expected)}`,
  );
}

/** A class of errors. */
// deno-lint-ignore no-explicit-any -- a constructor of any arguments has no other type
type ErrorClass<E extends Error> = abstract new (...args: any[]) => E;

/**
 * Asserts that a function throws.
 *
 * @param fn The function.
 * @param ErrorClass The expected class of the error.
 * @param msgIncludes A part of its message.
 * @returns The error.
 */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
): E {
  try {
    fn();
  } catch (error) {
    return checked(error, ErrorClass, msgIncludes);
  }
  throw new nodeAssert.AssertionError({ message: "Expected function to throw" });
}

/**
 * Asserts that a promise rejects.
 *
 * @param fn The function with the promise.
 * @param ErrorClass The expected class of the error.
 * @param msgIncludes A part of its message.
 * @returns The error.
 */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
): Promise<E> {
  try {
    await fn();
  } catch (error) {
    return checked(error, ErrorClass, msgIncludes);
  }
  throw new nodeAssert.AssertionError({ message: "Expected function to reject" });
}

function checked<E extends Error>(error: unknown, ErrorClass: ErrorClass<E>, msgIncludes = ""): E {
  if (!(error instanceof ErrorClass)) {
    const name = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
    throw new nodeAssert.AssertionError({
      message: `Expected an error of class ${ErrorClass.name}, but it is ${name}`,
    });
  }
  assertStringIncludes(error.message, msgIncludes);
  return error;
}
