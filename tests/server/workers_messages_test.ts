import { assertEquals } from "@std/assert";
import type { EchoClosed, EchoEvent, EchoOpened } from "../../lib/server/policy.ts";
import { EventOutbox, MAX_WAITING_EVENT_CHARS, NOTHING_COUNTED, sumOf } from "../../lib/server/workers_messages.ts";

/** An outbox, and its posts: kinds and numbers of events, and how many were dropped. */
function outboxOf() {
  const posted: [events: string[], dropped: number][] = [];
  const word = (event: EchoEvent) => "id" in event ? `${event.type} ${event.id}` : event.type;
  const outbox = new EventOutbox((events, dropped) => posted.push([events.map(word), dropped]));
  return { outbox, posted };
}

const opened = (id: number, path = "/"): EchoOpened => ({
  type: "opened",
  id,
  peer: "127.0.0.1:1",
  path,
  protocol: "",
});
const closed = (id: number): EchoClosed => ({
  ...{ type: "closed", id, peer: "127.0.0.1:1", messages: 0, bytes: 0, ms: 0 },
  ...{ sent: null, received: null, initiator: null, end: "no-close-frame", tcp: "peer", detail: "" },
});

Deno.test("EventOutbox posts the first event at once, and later events together after the first was taken", () => {
  const { outbox, posted } = outboxOf();
  for (const id of [1, 2, 3]) outbox.tell(opened(id));
  assertEquals(posted, [[["opened 1"], 0]]);
  outbox.taken();
  assertEquals(posted.slice(1), [[["opened 2", "opened 3"], 0]]);
  outbox.taken();
  outbox.tell(closed(2));
  assertEquals(posted.slice(2), [[["closed 2"], 0]]);
});

/** Fills an outbox: each event counts 256 characters and its path. */
function fill(outbox: EventOutbox): number {
  const path = `/${"x".repeat(767)}`;
  const count = MAX_WAITING_EVENT_CHARS / 1024;
  for (let id = 1; id <= count + 1; id++) outbox.tell(opened(id, path));
  return count + 1;
}

Deno.test("EventOutbox holds 1,048,576 characters, then drops and counts events", () => {
  const { outbox, posted } = outboxOf();
  // The first one was posted; the others fill the outbox to the last character.
  const last = fill(outbox);
  outbox.tell({ type: "trouble", kind: "accept", error: "" });
  outbox.taken();
  const [events = [], dropped] = posted[1] ?? [];
  assertEquals([MAX_WAITING_EVENT_CHARS, events.length, events.at(-1), dropped], [
    1_048_576,
    last - 1,
    `opened ${last}`,
    1,
  ]);
});

Deno.test("EventOutbox drops both the beginning and the end of a connection, or neither", () => {
  const { outbox, posted } = outboxOf();
  const last = fill(outbox);
  outbox.tell(opened(last + 1));
  // The end of a reported connection is always reported.
  outbox.tell(closed(1));
  outbox.taken();
  assertEquals([posted[1]?.[0].at(-1), posted[1]?.[1]], ["closed 1", 1]);
  outbox.tell(closed(last + 1));
  outbox.taken();
  assertEquals(posted.at(-1), [[], 1]);
});

Deno.test("EventOutbox posts the rest without waiting when it is flushed", () => {
  const { outbox, posted } = outboxOf();
  for (const id of [1, 2]) outbox.tell(opened(id));
  outbox.flush();
  assertEquals(posted, [[["opened 1"], 0], [["opened 2"], 0]]);
});

Deno.test("sumOf() adds up numbers, and counts of the same kind", () => {
  const one = {
    connections: 1,
    accepted: 3,
    messages: 5,
    bytes: 7,
    wire: { sent: 11, received: 13 },
    deflated: 1,
    closes: [{ code: 1000, initiator: "peer", count: 2 }],
    refusals: [{ cause: "token", count: 1 }],
    troubles: [],
  } as const;
  const other = {
    ...one,
    closes: [{ code: 1000, initiator: "peer", count: 1 }, { code: 1000, initiator: "server", count: 4 }],
    refusals: [{ cause: "host", count: 1 }],
  } as const;
  assertEquals(sumOf([NOTHING_COUNTED, one, other]), {
    connections: 2,
    accepted: 6,
    messages: 10,
    bytes: 14,
    wire: { sent: 22, received: 26 },
    deflated: 2,
    closes: [{ code: 1000, initiator: "peer", count: 3 }, { code: 1000, initiator: "server", count: 4 }],
    refusals: [{ cause: "token", count: 1 }, { cause: "host", count: 1 }],
    troubles: [],
  });
  assertEquals(sumOf([]), NOTHING_COUNTED);
});
