/** A rolling restart: two instances behind nginx, restarted one after the other during exchanges of clients. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import type { CloseRecord } from "../../lib/protocol/close.ts";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import { type Connection, ConnectionClosedError, OpenError } from "../../lib/connection/connection.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { start } from "../support/command.ts";
import { hasNginx, ownAddress, startNginx } from "../support/nginx.ts";
import { testBoth } from "../support/transports.ts";

const WAIT = { timeoutMs: 60_000 };
const ROUNDS = 2;

/** The pending messages of each client: one at a time, or a window. */
const WINDOWS = [1, 1, 8, 8];

/** The answers that each client needs between two restarts. */
const PROGRESS = 30;

/** The most answers without an upgrade before a client gives up. */
const MAX_REFUSALS = 20;

/** The record of one connection, from a client or from the server. */
interface Seen {
  answered: number;
  received: number | undefined;
}

/** An instance of the server that returns on the same address. */
class Instance {
  /** The server's record of each ended connection, by path. */
  readonly ended = new Map<string, Seen>();
  address = `${ownAddress()}:0`;
  readonly #args: readonly string[];
  #child: Deno.ChildProcess | undefined;
  #reading: Promise<void> = Promise.resolve();
  #stderr: Promise<string> = Promise.resolve("");

  constructor(...args: string[]) {
    this.#args = args;
  }

  async start(): Promise<void> {
    const [host = "", port = ""] = this.address.split(":");
    this.#child = start("server.ts", ["--host", host, "--port", port, "--log", "json", ...this.#args]);
    this.#stderr = new Response(this.#child.stderr).text();
    const listening = Promise.withResolvers<string>();
    this.#reading = this.#read(this.#child.stdout, listening.resolve);
    const first = await Promise.race([listening.promise, this.#stderr]);
    assertMatch(first, /ws:\/\/[\d.:]+\//);
    this.address = /ws:\/\/([\d.:]+)\//.exec(first)?.[1] ?? "";
  }

  /** Ends the instance as a supervisor does; returns its exit code and its complaints. */
  async stop(): Promise<{ code: number; stderr: string }> {
    const child = this.#child;
    this.#child = undefined;
    child?.kill("SIGTERM");
    const timer = setTimeout(() => child?.kill("SIGKILL"), WAIT.timeoutMs);
    const [status, stderr] = await Promise.all([child?.status, this.#stderr, this.#reading]);
    clearTimeout(timer);
    return { code: status?.code ?? -1, stderr };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child) await this.stop();
  }

  async #read(stdout: ReadableStream<Uint8Array<ArrayBuffer>>, onFirst: (line: string) => void): Promise<void> {
    const paths = new Map<number, string>();
    let text = "";
    for await (const piece of stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (text + piece).split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        onFirst(line);
        if (!line.startsWith("{")) continue;
        const { type, id, path, messages, received } = JSON.parse(line);
        if (type === "opened") paths.set(id, path);
        if (type === "closed") this.ended.set(paths.get(id) ?? "", { answered: messages, received: received?.code });
      }
    }
  }
}

/** A client that numbers its messages, and after a reconnect resumes with the first unanswered one. */
class Client {
  /** Its record of each connection, by path. */
  readonly seen = new Map<string, Seen>();
  readonly faults: string[] = [];
  answered = 0;
  reconnects = 0;
  refusals = 0;
  readonly #name: string;
  readonly #open: (path: string) => Promise<Connection>;
  readonly #window: number;
  #isStopping = false;
  #onProgress = () => {};

  constructor(name: string, open: (path: string) => Promise<Connection>, window: number) {
    this.#name = name;
    this.#open = open;
    this.#window = window;
  }

  /** Waits for more answers. */
  async progress(count: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const target = this.answered + count;
    this.#onProgress = () => this.answered >= target && resolve();
    await promise;
  }

  stop(): void {
    this.#isStopping = true;
  }

  async run(): Promise<void> {
    for (let count = 0; !this.#isStopping; count++) {
      const path = `/${this.#name}/${count}`;
      const seen: Seen = { answered: 0, received: undefined };
      const connection = await this.#connect(path);
      this.seen.set(path, seen);
      const { received, end, detail } = await this.#exchange(connection, seen);
      seen.received = received?.code;
      const expected = this.#isStopping ? 1000 : 1001;
      if (received?.code !== expected) {
        this.faults.push(`${path} ended with ${received?.code ?? "no close frame"} (${end}) ${detail}`);
      }
      this.reconnects = count;
    }
  }

  async #connect(path: string): Promise<Connection> {
    for (;;) {
      try {
        return await this.#open(path);
      } catch (error) {
        if (!(error instanceof OpenError) || ++this.refusals > MAX_REFUSALS) throw error;
        this.faults.push(`${path} was refused: ${error.message}`);
      }
    }
  }

  /** Exchanges until the server closes, or the client is stopped. */
  async #exchange(connection: Connection, seen: Seen): Promise<CloseRecord> {
    let sent = this.answered;
    const take = (reply: unknown) => {
      const expected = this.#message(this.answered);
      if (reply !== expected) this.faults.push(`${reply}`.slice(0, 40) + ` came instead of ${expected.slice(0, 40)}`);
      this.answered++;
      seen.answered++;
      this.#onProgress();
    };
    try {
      while (!this.#isStopping || sent > this.answered) {
        while (!this.#isStopping && sent < this.answered + this.#window) await connection.send(this.#message(sent++));
        take(await connection.receive(WAIT));
      }
      return await connection.close(WAIT);
    } catch (error) {
      if (!(error instanceof ConnectionClosedError)) throw error;
      // Messages before the close frame are answered, even if unread when it arrived.
      for (const reply of connection.drain()) take(reply);
      return error.record;
    }
  }

  /** Every message differs; some exceed the buffers on the way. */
  #message(number: number): string {
    return `${this.#name} message ${number} ${"x".repeat(number % 16 === 15 ? 40_000 : number % 16)}`;
  }
}

testBoth("clients lose no message while one instance after another restarts behind nginx", async (transport) => {
  await using one = new Instance("--transport", transport);
  await using two = new Instance("--transport", transport);
  await Promise.all([one.start(), two.start()]);
  await using nginx = await startNginx([one.address, two.address]);

  const openers = Object.entries({ builtin: openBuiltin, wire: openWire });
  const clients = openers.flatMap(([name, open]) =>
    WINDOWS.map((window, number) =>
      new Client(
        `${name}-${number}`,
        (path) => open(new URL(path, nginx.url), { connectTimeoutMs: WAIT.timeoutMs }),
        window,
      )
    )
  );
  const running = clients.map((client) => client.run());
  const failed = Promise.race(running.map((each) => each.then(() => new Promise<never>(() => {}))));
  const allProgress = () => Promise.race([failed, Promise.all(clients.map((client) => client.progress(PROGRESS)))]);

  await allProgress();
  const exits = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const instance of [one, two]) {
      exits.push(await instance.stop());
      await allProgress();
      await instance.start();
      await allProgress();
    }
  }
  for (const client of clients) client.stop();
  await Promise.all(running);
  for (const instance of [one, two]) exits.push(await instance.stop());

  // Every answer was the next one due, every connection ended with 1001 or, at the end, our own 1000, and no upgrade
  // was refused: nginx asked the other instance while one was away or drained.
  assertEquals(clients.flatMap(({ faults }) => faults), []);
  assertEquals(clients.filter(({ reconnects }) => reconnects === 0).length, 0);
  // No answer was lost: for each connection the server's answers are those that its client received.
  const seenByClients = new Map(clients.flatMap(({ seen }) => [...seen]));
  const seenByServers = new Map([...one.ended, ...two.ended]);
  for (const [path, seen] of seenByClients) assertEquals(seenByServers.get(path), seen, path);
  assertEquals(seenByServers.size, seenByClients.size);
  assertEquals(exits, exits.map(() => ({ code: 0, stderr: "" })));
  // The status for a client, after those of the instances that nginx asked: 502 stands for an absent one.
  const { answers } = await nginx.logs();
  assertEquals(answers.filter((line) => !/^101 (50[23], )?101$/.test(line)), []);
  assert(answers.some((line) => line !== "101 101"), "No instance was away or drained when it was asked");
}, { ignore: !hasNginx });
