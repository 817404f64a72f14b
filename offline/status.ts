/**
 * Stand-in for `@std/http/status` where JSR cannot be reached: the same names over `node:http`.
 *
 * @module
 */

import { STATUS_CODES } from "node:http";

/** The HTTP status codes that this project names. */
export const STATUS_CODE = {
  SwitchingProtocols: 101,
  OK: 200,
  NotModified: 304,
  BadRequest: 400,
  Unauthorized: 401,
  Forbidden: 403,
  NotFound: 404,
  MethodNotAllowed: 405,
  RequestTimeout: 408,
  UpgradeRequired: 426,
  RequestHeaderFieldsTooLarge: 431,
  InternalServerError: 500,
  ServiceUnavailable: 503,
} as const;

/** An HTTP status code. */
export type StatusCode = keyof typeof STATUS_CODES & number;

/** The reason phrase of every status code. */
export const STATUS_TEXT: Record<StatusCode, string> = Object.fromEntries(
  Object.entries(STATUS_CODES).map(([code, text]) => [Number(code), text ?? ""]),
);

/**
 * Tells whether a number is a status code that has a name.
 *
 * @param status The number.
 * @returns Whether it is one.
 */
export function isStatus(status: number): status is StatusCode {
  return status in STATUS_TEXT;
}
