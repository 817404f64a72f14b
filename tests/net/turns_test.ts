/** Turns between connections, and the time left to timers and new connections. */

import { assert, assertEquals } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import { MAX_PERIOD_WORK, MAX_WORK, Turns, untilEvents, workOfBytes } from "../../lib/net/turns.ts";

const WAIT = { timeoutMs: 20_000 };
/** This many turns of work would take minutes. */
const ENDLESS = 1_000_000;

Deno.test("workOfBytes() counts 512 bytes as one frame", () => {
  assertEquals([0, 511, 512, 1023, 1024].map(workOfBytes), [0, 0, 1, 1, 2]);
});

Deno.test("Turns.next() lets a connection go on at once, with little work and few others", () => {
  const turns = new Turns();
  for (let count = 0; count < 64; count++) turns.enter();
  for (let count = 0; count < 1000; count++) assertEquals(turns.next(MAX_WORK - 1), undefined);
});

Deno.test("Turns.next() lets nobody go on at once, with more than 64 connections", async () => {
  const turns = new Turns();
  for (let count = 0; count < 65; count++) turns.enter();
  await within(turns.next(1) ?? Promise.reject(new Error("No turn")), "turn", WAIT);
  turns.leave();
  assertEquals(turns.next(1), undefined);
});

/** More connections than are served without rounds. */
function manyTurns(connections: number): Turns {
  const turns = new Turns();
  for (let count = 0; count < connections; count++) turns.enter();
  return turns;
}

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

Deno.test("Turns.next() lets nobody go on as long as others are served, with more than 64 connections", async () => {
  const turns = manyTurns(200);
  let isOver = false;
  const round = turns.next(1)?.then(() => isOver = true);
  for (let count = 0; count < 100; count++) {
    turns.onRead();
    await nextTurn();
    assert(!isOver, `The round was over after ${count} turns`);
  }
  await within(round ?? Promise.reject(new Error("No round")), "round", WAIT);
});

Deno.test("Turns.next() lets all go on when all were served, without looking for more", async () => {
  const turns = manyTurns(200);
  let isOver = false;
  const rounds = Array.from({ length: 200 }, () => turns.next(1)?.then(() => isOver = true));
  for (let count = 0; count < 128; count++) turns.onRead();
  for (let count = 0; count < 3; count++) await nextTurn();
  assert(isOver, "The round goes on");
  await Promise.all(rounds);
});

Deno.test("Turns.next() lets all go on, when some that were served in the last round have nothing more to say", async () => {
  const turns = manyTurns(200);
  for (const served of [150, 128, 128]) {
    const rounds = Array.from({ length: served }, () => (turns.onRead(), turns.next(1)));
    await within(Promise.all(rounds), "round", WAIT);
  }
});

Deno.test("Turns.next() lets nobody go on before bytes that have arrived, behind 128 reads in a turn", async () => {
  const turns = manyTurns(200);
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using peer = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  using conn = await listener.accept();
  // Repeated, as the runtime may just be about to ask the system.
  for (let count = 0; count < 20; count++) {
    let hasCome = false;
    const reading = conn.read(new Uint8Array(1)).then(() => hasCome = true);
    await peer.write(new Uint8Array(1));
    for (let reads = 0; reads < 128; reads++) turns.onRead();
    await within(turns.next(1) ?? Promise.reject(new Error("No round")), "round", WAIT);
    assert(hasCome, `The byte had not come in round ${count}`);
    await reading;
  }
});

/** Works like one busy connection until an event has happened. */
async function workUntil(turns: Turns, hasHappened: () => boolean): Promise<number> {
  let count = 0;
  while (!hasHappened()) {
    await turns.next(MAX_WORK);
    assert(++count < ENDLESS, "Nothing has happened");
  }
  return count;
}

Deno.test("Turns.next() leaves room for timers, when one connection works without end", async () => {
  let isDue = false;
  setTimeout(() => isDue = true);
  await workUntil(new Turns(), () => isDue);
});

Deno.test("Turns.next() leaves room for new connections, when many work without end", async () => {
  const turns = new Turns();
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  let hasCome = false;
  const accepting = listener.accept().then((conn) => {
    conn.close();
    hasCome = true;
  });
  const connecting = Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  await Promise.all(Array.from({ length: 100 }, () => workUntil(turns, () => hasCome)));
  await accepting;
  (await connecting).close();
});

Deno.test("Turns.next() lets all go on in turn, when they work without end", async () => {
  const turns = new Turns();
  const counts = new Array<number>(40).fill(0);
  await Promise.all(counts.map(async (_, index) => {
    while (Math.max(...counts) < 100) {
      await turns.next(MAX_WORK);
      counts[index] = (counts[index] ?? 0) + 1;
    }
  }));
  // One connection may use up the rest of a period, but no more.
  assert(Math.min(...counts) >= 100 - 17, counts.join(" "));
});

Deno.test("Turns.first() lets a connection that begins go in turn with those that have had one", async () => {
  const turns = new Turns();
  const order: string[] = [];
  const goOn = (name: string, turn: Promise<void> | undefined) =>
    turn?.then(() => order.push(name)) ?? Promise.reject(new Error("No turn"));
  // This much fits one period: later connections must wait for the next.
  assertEquals(turns.next(MAX_PERIOD_WORK - 1), undefined);
  const waiting = [
    ...["busy 1", "busy 2", "busy 3"].map((name) => goOn(name, turns.next(MAX_WORK))),
    ...["new 1", "new 2"].map((name) => goOn(name, turns.first(MAX_WORK))),
  ];
  await within(Promise.all(waiting), "turns", WAIT);
  // Newest first.
  assertEquals(order, ["new 2", "busy 1", "new 1", "busy 2", "busy 3"]);
});

Deno.test("untilEvents() lets bytes through that have arrived", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using peer = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  using conn = await listener.accept();
  let hasCome = false;
  const reading = conn.read(new Uint8Array(1)).then(() => hasCome = true);
  await peer.write(new Uint8Array(1));
  for (let count = 0; !hasCome; count++) {
    await untilEvents();
    assert(count < ENDLESS, "Nothing has come");
  }
  await reading;
});
