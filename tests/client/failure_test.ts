/** The hints of failures after the opening. */

import { assertEquals } from "@std/assert";
import { failureOf } from "../../lib/client/failure.ts";
import { ConnectionClosedError } from "../../lib/connection/connection.ts";

Deno.test("failureOf() names --reply-none for a close with 1000, only when the run waits for replies", () => {
  const received = { code: 1000, reason: "" };
  const record = { sent: null, received, initiator: "peer", end: "close-frame", tcp: "peer", detail: "" } as const;
  const error = new ConnectionClosedError(record);
  assertEquals(failureOf(error, "wire").hint.includes("--reply-none"), true);
  assertEquals(failureOf(error, "wire", { awaitsReplies: false }).hint, "");
});
