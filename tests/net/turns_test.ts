/** Turns between connections, and the time left to timers and new connections. */

import { assert, assertEquals } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import {
  LIGHT_WORK,
  MAX_PERIOD_WORK,
  MAX_WORK,
  Pace,
  SHORT_PERIOD_WORK,
  type Standing,
  Turns,
  untilEvents,
  workOfBytes,
} from "../../lib/net/turns.ts";

const WAIT = { timeoutMs: 20_000 };
/** This many turns of work would take minutes. */
const ENDLESS = 1_000_000;

Deno.test("workOfBytes() counts 512 bytes as one frame", () => {
  assertEquals([0, 511, 512, 1023, 1024].map(workOfBytes), [0, 0, 1, 1, 2]);
});

Deno.test("Turns.next() lets a connection continue at once, with little work and few others", () => {
  const turns = new Turns();
  for (let count = 0; count < 64; count++) turns.enter();
  for (let count = 0; count < 1000; count++) assertEquals(turns.next(MAX_WORK - 1), undefined);
});

Deno.test("Turns.next() lets nobody continue at once, with more than 64 connections", async () => {
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

Deno.test("Turns.next() lets nobody continue as long as others are served, with more than 64 connections", async () => {
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

Deno.test("Turns.next() lets all continue when all were served, without looking for more", async () => {
  const turns = manyTurns(200);
  let isOver = false;
  const rounds = Array.from({ length: 200 }, () => turns.next(1)?.then(() => isOver = true));
  for (let count = 0; count < 128; count++) turns.onRead();
  for (let count = 0; count < 3; count++) await nextTurn();
  assert(isOver, "The round goes on");
  await Promise.all(rounds);
});

Deno.test("Turns.next() lets all continue, when some that were served in the last round have nothing more to send", async () => {
  const turns = manyTurns(200);
  for (const served of [150, 128, 128]) {
    const rounds = Array.from({ length: served }, () => (turns.onRead(), turns.next(1)));
    await within(Promise.all(rounds), "round", WAIT);
  }
});

Deno.test("Turns.next() serves arrived bytes first, after 128 reads in a turn", async () => {
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
    turns.spend(MAX_WORK);
    await turns.next(MAX_WORK);
    assert(++count < ENDLESS, "Nothing has happened");
  }
  return count;
}

Deno.test("Turns.next() leaves room for timers, when one connection works endlessly", async () => {
  let isDue = false;
  setTimeout(() => isDue = true);
  await workUntil(new Turns(), () => isDue);
});

Deno.test("Turns.next() leaves room for new connections, when many work endlessly", async () => {
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

Deno.test("Turns.next() lets all continue in turn, when they work endlessly", async () => {
  const turns = new Turns();
  const counts = new Array<number>(40).fill(0);
  await Promise.all(counts.map(async (_, index) => {
    while (Math.max(...counts) < 100) {
      turns.spend(MAX_WORK);
      await turns.next(MAX_WORK);
      counts[index] = (counts[index] ?? 0) + 1;
    }
  }));
  // One connection may use up the rest of a period, but no more.
  assert(Math.min(...counts) >= 100 - 17, counts.join(" "));
});

Deno.test("Turns.first() lets a new connection take turns with those that have had one", async () => {
  const turns = new Turns();
  const order: string[] = [];
  const goOn = (name: string, turn: Promise<void> | undefined) =>
    turn?.then(() => order.push(name)) ?? Promise.reject(new Error("No turn"));
  // This much fits one period: later connections must wait for the next.
  turns.spend(MAX_PERIOD_WORK);
  const waiting = [
    ...["busy 1", "busy 2", "busy 3"].map((name) => goOn(name, turns.next(MAX_WORK))),
    ...["new 1", "new 2"].map((name) => goOn(name, turns.first(MAX_WORK))),
  ];
  await within(Promise.all(waiting), "turns", WAIT);
  // Newest first.
  assertEquals(order, ["new 2", "busy 1", "new 1", "busy 2", "busy 3"]);
});

/** Of a connection that has done no work yet, or as much as may be. */
const paceOf = (standing: Standing) => ({ standing, expectedWork: standing === "light" ? LIGHT_WORK : MAX_WORK });

Deno.test("Turns.before() lets all continue at once, until as much was done as a period has", () => {
  const turns = new Turns();
  turns.spend(MAX_PERIOD_WORK - 1);
  for (const standing of ["light", "new", "heavy"] as const) assertEquals(turns.before(paceOf(standing)), undefined);
});

Deno.test("Turns.before() lets light connections continue, until twice as much was done", async () => {
  const turns = new Turns();
  turns.spend(2 * MAX_PERIOD_WORK - 1);
  assertEquals(turns.before(paceOf("light")), undefined);
  const heavy = turns.before(paceOf("heavy"));
  turns.spend(1);
  const light = turns.before(paceOf("light"));
  assert(heavy && light);
  await within(Promise.all([heavy, light]), "turns", WAIT);
});

Deno.test("Turns.before() lets light connections continue first, then one new beside each heavy one", async () => {
  const turns = new Turns();
  turns.spend(2 * MAX_PERIOD_WORK);
  const order: string[] = [];
  const waiting = (["heavy", "heavy", "new", "light"] as const).map(async (standing, index) => {
    const turn = turns.before(paceOf(standing));
    assert(turn, `No turn for ${standing}`);
    await turn;
    order.push(`${standing} ${index}`);
  });
  await within(Promise.all(waiting), "turns", WAIT);
  assertEquals(order, ["light 3", "new 2", "heavy 0", "heavy 1"]);
});

Deno.test("Turns.next() lets a light connection go first, and not after the whole queue", async () => {
  const turns = new Turns();
  turns.spend(MAX_PERIOD_WORK);
  const order: string[] = [];
  const goOn = (name: string, turn?: Promise<void>) => turn?.then(() => order.push(name));
  const heavy = Array.from({ length: 20 }, () => goOn("heavy", turns.next(MAX_WORK)));
  const light = goOn("light", turns.next(MAX_WORK, "light"));
  await within(Promise.all([...heavy, light]), "turns", WAIT);
  assertEquals([order.length, order[0]], [21, "light"]);
});

Deno.test("Turns.next() lets nobody wait for a round, while others queue", async () => {
  const turns = manyTurns(200);
  turns.spend(MAX_PERIOD_WORK);
  let isServed = false;
  // Reads that come without a pause keep the round going.
  const read = () => {
    turns.onRead();
    if (!isServed) setImmediate(read);
  };
  read();
  const round = turns.next(1)?.then(() => isServed = true);
  const queued = Array.from({ length: 100 }, () => turns.before(paceOf("heavy")));
  await within(round ?? Promise.reject(new Error("No round")), "round", WAIT);
  await within(Promise.all(queued), "turns", WAIT);
});

Deno.test("Turns has short periods from a light read on, while others queue, and long ones 64 periods later", async () => {
  const periods = async (isLightHere: boolean) => {
    const turns = new Turns();
    if (isLightHere) turns.next(1, "light");
    turns.spend(MAX_PERIOD_WORK);
    const works: number[] = [];
    let isOn = false;
    await within(
      Promise.all(Array.from({ length: 64 * 2 + 8 }, async () => {
        await turns.before(paceOf("heavy"));
        if (!isOn) setImmediate(() => isOn = false);
        if (!isOn) works.push(0);
        isOn = true;
        works.push((works.pop() ?? 0) + MAX_WORK);
      })),
      "turns",
      WAIT,
    );
    return works;
  };
  assertEquals([SHORT_PERIOD_WORK, MAX_PERIOD_WORK], [2048, 8192]);
  assertEquals(await periods(false), new Array(17).fill(MAX_PERIOD_WORK));
  assertEquals(await periods(true), [...new Array(64).fill(SHORT_PERIOD_WORK), MAX_PERIOD_WORK]);
});

Deno.test("Turns.again() makes the next connection wait again, when those before did more than expected", async () => {
  const turns = new Turns();
  turns.spend(MAX_PERIOD_WORK);
  let now = 0;
  let most = 0;
  const works = Array.from({ length: 40 }, async () => {
    const pace = { standing: "heavy", expectedWork: 1 } as const;
    for (let turn = turns.before(pace); turn; turn = turns.again(pace)) await turn;
    if (now === 0) setImmediate(() => now = 0);
    now += MAX_PERIOD_WORK;
    most = Math.max(most, now);
    turns.spend(MAX_PERIOD_WORK);
  });
  await within(Promise.all(works), "turns", WAIT);
  assertEquals(most, MAX_PERIOD_WORK);
});

Deno.test("Pace expects a read to be as much work as the last one, between 64 and 1,024 frames", () => {
  const pace = new Pace();
  assertEquals(pace.expectedWork, 1024);
  for (const [work, expected] of [[1, 64], [200, 200], [5000, 1024]] as const) {
    pace.onWork(work);
    pace.onEnd();
    assertEquals(pace.expectedWork, expected);
  }
});

Deno.test("Pace calls a connection light after 8 light reads, and heavy after one heavy read", () => {
  const pace = new Pace();
  const read = (...parts: number[]) => {
    for (const work of parts) pace.onWork(work);
    const { standing } = pace;
    pace.onEnd();
    return standing;
  };
  assertEquals(Array.from({ length: 8 }, () => read(LIGHT_WORK - 1)), new Array(8).fill("new"));
  assertEquals(pace.standing, "light");
  // Two parts of one read count together, while it goes on.
  assertEquals([read(LIGHT_WORK - 1, 1), pace.standing], ["heavy", "heavy"]);
  for (let reads = 0; reads < 7; reads++) assertEquals(read(1), "heavy");
  assertEquals([read(1), pace.standing], ["heavy", "light"]);
});

Deno.test("untilEvents() lets arrived bytes through", async () => {
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
