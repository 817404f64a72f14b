/**
 * The load generator `perf/load.c`, compiled on demand. As a program this takes the arguments listed there:
 * `deno run --allow-run --allow-read --allow-write perf/load.ts echo ws://127.0.0.1:6455/ 500x20`.
 */

/** Round-trip times, in microseconds; `null` without any. */
export interface Times {
  readonly p50: number | null;
  readonly p99: number | null;
  readonly worst: number | null;
}

/** Resources used by the load and, with `--pid`, by the server's processes. */
export interface Usage {
  /** Share of a core used by the load: near 1, the load was the limit. */
  readonly loadShare: number;
  /** Idle time of the cores that the load may use. */
  readonly idleSeconds: number;
  readonly cpuSeconds?: number;
  /** CPU time per message, or per connection. */
  readonly cpuMicros?: number;
  readonly peakMebibytes?: number;
}

/** Connections with messages of one size. */
export interface Group extends Times {
  readonly connections: number;
  readonly bytes: number;
  readonly depth: number;
  readonly messages: number;
  /** Messages of the slowest connection. */
  readonly least: number;
  /** Messages of the fastest connection. */
  readonly most: number;
}

/** Output of `echo`. */
export interface EchoResult extends Usage {
  readonly seconds: number;
  readonly messages: number;
  readonly perSecond: number;
  readonly groups: readonly Group[];
}

/** Output of `connect`. */
export interface ConnectResult extends Usage, Times {
  readonly seconds: number;
  readonly connections: number;
  readonly perSecond: number;
  readonly failures: number;
  readonly firstFailure: string;
}

/** Output of `storm`. */
export interface StormResult extends Usage {
  readonly connections: number;
  readonly rounds: readonly Round[];
  readonly firstFailure: string;
}

/** One storm: each connection is done, lost, or pending at the deadline. */
export interface Round extends Times {
  readonly through: number;
  readonly lost: number;
  readonly waiting: number;
  readonly seconds: number;
}

/** The load generator as functions. */
export interface Load {
  /** @throws {Error} on a wrong reply or a lost connection, with the load generator's message. */
  echo(url: string, args: readonly string[]): Promise<EchoResult>;
  /** @throws {Error} as `echo` does. */
  connect(url: string, args: readonly string[]): Promise<ConnectResult>;
  /** @throws {Error} as `echo` does. */
  storm(url: string, args: readonly string[]): Promise<StormResult>;
  /** The same on cores of its own, in the syntax of `taskset -c`. */
  pinnedTo(cores: string): Load;
}

/** A compiled load generator; disposal removes the program. */
export interface CompiledLoad extends Load, AsyncDisposable {
  readonly path: string;
}

/**
 * Compiles the load generator into a folder of its own.
 *
 * @throws {Error} without a C compiler, or if the build fails.
 */
export async function compileLoad(): Promise<CompiledLoad> {
  const folder = await Deno.makeTempDir({ prefix: "wsproof-load-" });
  const path = `${folder}/load`;
  try {
    await compile(path);
  } catch (error) {
    await Deno.remove(folder, { recursive: true });
    throw error;
  }
  return { path, ...loadOf(path, []), [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

function loadOf(command: string, before: readonly string[]): Load {
  const run = async <Result>(args: readonly string[]): Promise<Result> => {
    const { success, stdout, stderr } = await new Deno.Command(command, { args: [...before, ...args] }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr).trim());
    return JSON.parse(new TextDecoder().decode(stdout));
  };
  return {
    echo: (url, args) => run<EchoResult>(["echo", url, ...args]),
    connect: (url, args) => run<ConnectResult>(["connect", url, ...args]),
    storm: (url, args) => run<StormResult>(["storm", url, ...args]),
    pinnedTo: (cores) => loadOf("taskset", ["-c", cores, command]),
  };
}

async function compile(path: string): Promise<void> {
  const sources = ["load.c", "load/connection.c", "load/figures.c", "load/frames.c"].map((name) =>
    decodeURIComponent(new URL(name, import.meta.url).pathname)
  );
  const args = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-o", path, ...sources];
  try {
    const { success, stderr } = await new Deno.Command("cc", { args, stdin: "null" }).output();
    if (!success) throw new Error(`cc does not compile perf/load.c:\n${new TextDecoder().decode(stderr).trim()}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new Error("There is no C compiler: perf/load.c needs cc (Debian: apt-get install gcc libc6-dev)");
  }
}

if (import.meta.main) {
  let code = 1;
  try {
    await using load = await compileLoad();
    ({ code } = await new Deno.Command(load.path, { args: Deno.args, stdin: "null" }).spawn().status);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
  }
  Deno.exit(code);
}
