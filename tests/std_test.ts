/**
 * What this project needs of the three @std packages. The same tests pass on the real packages and on the stand-ins of
 * offline/, so that either may be behind the names.
 */

import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { parseArgs } from "@std/cli/parse-args";
import { ProgressBar } from "@std/cli/unstable-progress-bar";
import { accepts } from "@std/http/negotiation";
import { isStatus, STATUS_CODE, STATUS_TEXT } from "@std/http/status";

Deno.test("assert() and assertFalse() pass what is as it should be, throw otherwise", () => {
  assert(1);
  assertFalse(0);
  assertThrows(() => assert(false, "not so"), Error, "not so");
  assertThrows(() => assertFalse(true, "not so"), Error, "not so");
});
