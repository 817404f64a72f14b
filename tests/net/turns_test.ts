/** Turns between connections, and the time left to timers and new connections. */

import { assert, assertEquals } from "@std/assert";
import { within } from "../../lib/net/deadline.ts";
import {
  LIGHT_WORK,
  MAX_PERIOD_WORK,
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

Deno.test("Turns.round() lets a connection continue at once, with up to 64 connections", () => {
  const turns = manyTurns(64);
  for (let count = 0; count < 1000; count++) assertEquals(turns.round("heavy"), undefined);
});

Deno.test("Turns.round() lets nobody continue at once, with more than 64 connections", async () => {
  const turns = manyTurns(65);
  await within(turns.round("heavy") ?? Promise.reject(new Error("No round")), "round", WAIT);
  turns.leave();
  assertEquals(turns.round("heavy"), undefined);
});

/** Turns of so many connections. */
function manyTurns(connections: number): Turns {
  const turns = new Turns();
  for (let count = 0; count < connections; count++) turns.enter();
  return turns;
}

const nextTurn = () => new Promise<void>((resolve) => setImmediate(resolve));

Deno.test("Turns.round() lets nobody continue as long as others are served, with more than 64 connections", async () => {
  const turns = manyTurns(200);
  let isOver = false;
  const round = turns.round("heavy")?.then(() => isOver = true);
  for (let count = 0; count < 100; count++) {
    turns.round("heavy");
    await nextTurn();
    assert(!isOver, `The round was over after ${count} turns`);
  }
  await within(round ?? Promise.reject(new Error("No round")), "round", WAIT);
});

Deno.test("Turns.round() lets all continue when all were served, without looking for more", async () => {
  const turns = manyTurns(200);
  let isOver = false;
  const rounds = Array.from({ length: 200 }, () => turns.round("heavy")?.then(() => isOver = true));
  for (let count = 0; count < 3; count++) await nextTurn();
  assert(isOver, "The round goes on");
  await Promise.all(rounds);
});

Deno.test("Turns.round() lets all continue, when some that were served in the last round have nothing more to send", async () => {
  const turns = manyTurns(200);
  for (const served of [150, 128, 128]) {
    const rounds = Array.from({ length: served }, () => turns.round("heavy"));
    await within(Promise.all(rounds), "round", WAIT);
  }
});

Deno.test("Turns.round() lets nobody continue before bytes that have arrived, after 128 served in a turn", async () => {
  const turns = manyTurns(200);
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  using peer = await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port });
  using conn = await listener.accept();
  // Repeated, as the runtime may just be about to ask the system.
  for (let count = 0; count < 20; count++) {
    let hasCome = false;
    const reading = conn.read(new Uint8Array(1)).then(() => hasCome = true);
    await peer.write(new Uint8Array(1));
    const rounds = Array.from({ length: 128 }, () => turns.round("heavy"));
    await within(Promise.all(rounds), "round", WAIT);
    assert(hasCome, `The byte had not come in round ${count}`);
    await reading;
  }
});

/** A demand of this standing. */
const demandOf = (standing: Standing) => ({ standing, expectedWork: standing === "light" ? LIGHT_WORK : 1024 });
const HEAVY = demandOf("heavy");

/** Works like one busy connection until an event has happened. */
async function workUntil(turns: Turns, hasHappened: () => boolean): Promise<void> {
  for (let count = 0; !hasHappened(); count++) {
    turns.spend(HEAVY.expectedWork);
    await turns.turn(HEAVY);
    assert(count < ENDLESS, "Nothing has happened");
  }
}

Deno.test("Turns.turn() leaves room for timers, when one connection works endlessly", async () => {
  let isDue = false;
  setTimeout(() => isDue = true);
  await workUntil(new Turns(), () => isDue);
});

Deno.test("Turns.turn() leaves room for new connections, when many work endlessly", async () => {
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

Deno.test("Turns.turn() lets all continue in turn, when they work endlessly", async () => {
  const turns = new Turns();
  const counts = new Array<number>(40).fill(0);
  await Promise.all(counts.map(async (_, index) => {
    while (Math.max(...counts) < 100) {
      turns.spend(HEAVY.expectedWork);
      await turns.turn(HEAVY);
      counts[index] = (counts[index] ?? 0) + 1;
    }
  }));
  // One connection may use up the rest of a period, but no more.
  assert(Math.min(...counts) >= 100 - 17, counts.join(" "));
});

Deno.test("Turns.turn() lets all continue at once, until the period is spent, and light connections until it is spent twice", async () => {
  const turns = new Turns();
  turns.spend(MAX_PERIOD_WORK - 1);
  for (const standing of ["light", "new", "heavy"] as const) assertEquals(turns.turn(demandOf(standing)), undefined);
  turns.spend(1);
  const heavy = turns.turn(HEAVY);
  turns.spend(MAX_PERIOD_WORK - 1);
  assertEquals(turns.turn(demandOf("light")), undefined);
  turns.spend(1);
  const light = turns.turn(demandOf("light"));
  assert(heavy && light);
  await within(Promise.all([heavy, light]), "turns", WAIT);
});

Deno.test("Turns.turn() lets light connections continue first and in order, then heavy ones in order beside new ones, newest first", async () => {
  const turns = new Turns();
  turns.spend(2 * MAX_PERIOD_WORK);
  const order: string[] = [];
  const standings = ["heavy", "heavy", "heavy", "new", "new", "light", "light"] as const;
  const waiting = standings.map(async (standing, index) => {
    const turn = turns.turn(demandOf(standing));
    assert(turn, `No turn for ${standing}`);
    await turn;
    order.push(`${standing} ${index}`);
  });
  await within(Promise.all(waiting), "turns", WAIT);
  assertEquals(order, ["light 5", "light 6", "heavy 0", "new 4", "heavy 1", "new 3", "heavy 2"]);
});

Deno.test("Turns.turn() lets nobody pass those that queue, except light connections and those that have had their turn", async () => {
  const turns = new Turns();
  const waiting: Promise<void>[] = [];
  const queue = () => {
    const turn = turns.turn(HEAVY);
    assert(turn);
    return turn;
  };
  turns.spend(MAX_PERIOD_WORK);
  let hasBegun = false;
  waiting.push(
    queue().then(() => {
      hasBegun = true;
      waiting.push(queue());
      assertEquals([turns.turn(demandOf("light")), turns.turn(HEAVY, true)], [undefined, undefined]);
    }),
  );
  // The second of a period: the first finds it in the queue.
  waiting.push(queue());
  await within(Promise.all(waiting), "turns", WAIT);
  assert(hasBegun);
  await within(Promise.all(waiting), "turns", WAIT);
});

Deno.test("Turns has short periods from a light read on, while others queue, and long ones 64 periods later", async () => {
  const periods = async (isLightHere: boolean) => {
    const turns = new Turns();
    if (isLightHere) turns.round("light");
    turns.spend(MAX_PERIOD_WORK);
    const works: number[] = [];
    let isOn = false;
    await within(
      Promise.all(Array.from({ length: 64 * 2 + 8 }, async () => {
        await turns.turn(HEAVY);
        if (!isOn) setImmediate(() => isOn = false);
        if (!isOn) works.push(0);
        isOn = true;
        works.push((works.pop() ?? 0) + HEAVY.expectedWork);
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

Deno.test("Turns.turn() gives no more turns in a period, once those before have done more than was expected", async () => {
  const turns = new Turns();
  turns.spend(MAX_PERIOD_WORK);
  let now = 0;
  let most = 0;
  const works = Array.from({ length: 40 }, async () => {
    await turns.turn({ standing: "heavy", expectedWork: 1 });
    if (now === 0) setImmediate(() => now = 0);
    now += MAX_PERIOD_WORK;
    most = Math.max(most, now);
    turns.spend(MAX_PERIOD_WORK);
  });
  await within(Promise.all(works), "turns", WAIT);
  assertEquals(most, MAX_PERIOD_WORK);
});

Deno.test("Pace expects a read to be as much work as the last one, and the first to be 1,024 frames", () => {
  const pace = new Pace();
  assertEquals(pace.expectedWork, 1024);
  for (const work of [1, 200, 5000]) {
    pace.onWork(work);
    pace.onEnd();
    assertEquals(pace.expectedWork, work);
  }
});

Deno.test("Pace takes a connection for light behind 8 light reads, and for heavy with the first that is not", () => {
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
