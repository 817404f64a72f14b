/**
 * Decides, once for a checkout, which packages stand behind the `@std` names: those of JSR, or the stand-ins of this
 * folder. `.std/`, which Git ignores, keeps the choice.
 *
 * The packages of JSR are chosen when Deno's cache has them, or JSR can be reached. The stand-ins are chosen only when
 * JSR cannot be reached. Any other failure to load the packages is an error without a choice: a package that does not
 * match `deno.lock`, a version that does not exist, an answer of JSR that is no package.
 *
 * Usage: `deno run -A offline/decide.ts [say | again]`, in the root of the project. Without a word, prints the flags
 * for Deno to standard output, and names the stand-ins on standard error, if they are chosen. `say` puts the choice
 * into words; `again` forgets it first. Exit code 1: no choice could be made.
 *
 * @module
 */

/** Imports all that the project needs of the three packages, and nothing else. */
const NEEDED = "tests/e2e/std_test.ts";

const STAND_INS = "--import-map=offline/import_map.json";

/** The remembered choice: `flags` for Deno, `notice` for standard error. The tasks read both. */
const REMEMBERED = ".std";

/** Deadline for an answer of JSR, in milliseconds. */
const ANSWER_TIMEOUT_MS = 15_000;

/** Deno's exit code when a package does not match deno.lock, or a file its package. */
const INTEGRITY_ERROR = 10;

/** Statuses of a proxy or gateway that does not lead to JSR. */
const NOT_JSR = [403, 407, 502, 503, 504, 511];

/** Variables that name a proxy. Their values may hold a password. */
const PROXY_VARIABLES = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

const HOW_TO_CHANGE = "`deno task std:decide` decides again.";

/** A choice: flags for Deno, and a notice on standard error. Both are empty for the packages of JSR. */
interface Choice {
  readonly flags: string;
  readonly notice: string;
}

const JSR: Choice = { flags: "", notice: "" };

class NoChoice extends Error {}

/** The choice of this checkout, if one was made. */
async function recall(): Promise<Choice | undefined> {
  try {
    const [flags, notice] = await Promise.all(
      ["flags", "notice"].map((name) => Deno.readTextFile(`${REMEMBERED}/${name}`)),
    );
    return { flags: flags ?? "", notice: notice ?? "" };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/**
 * Remembers a choice atomically: another task sees either all of it or nothing.
 *
 * @returns The valid choice: that of another task, if it was first.
 */
async function remember(choice: Choice): Promise<Choice> {
  try {
    const folder = await Deno.makeTempDir({ dir: ".", prefix: `${REMEMBERED}.` });
    try {
      await Deno.chmod(folder, 0o755).catch(() => {}); // Windows has no modes.
      await Deno.writeTextFile(`${folder}/flags`, choice.flags);
      await Deno.writeTextFile(`${folder}/notice`, choice.notice);
      await Deno.rename(folder, REMEMBERED);
      return choice;
    } catch (error) {
      await Deno.remove(folder, { recursive: true });
      const other = await recall();
      if (other === undefined) throw error;
      return other;
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    console.error(`std: the choice is made at every run, as ${REMEMBERED}/ cannot be written: ${reason}`);
    return choice;
  }
}

/** Forgets the choice atomically. */
async function forget(): Promise<void> {
  const folder = `${REMEMBERED}.${crypto.randomUUID()}`;
  try {
    await Deno.rename(REMEMBERED, folder);
    await Deno.remove(folder, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
}

/** Why JSR cannot be reached; undefined if it answers. */
async function reasonWithoutJsr(): Promise<string | undefined> {
  const url = new URL("@std/assert/meta.json", Deno.env.get("JSR_URL") ?? "https://jsr.io/");
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) });
    await response.body?.cancel();
    return NOT_JSR.includes(response.status) ? `the answer is ${response.status} ${response.statusText}` : undefined;
  } catch (error) {
    const message = error instanceof Error
      ? (error.cause instanceof Error ? error.cause : error).message
      : String(error);
    const reason = message.replace(/^.*: client error \(\w+\): /s, "");
    const proxies = PROXY_VARIABLES.filter((name) => Deno.env.get(name) || Deno.env.get(name.toLowerCase()));
    return proxies.length === 0 ? reason : `${reason}, with ${proxies.join(" and ")} set`;
  }
}

function deno(args: string[], stderr: "piped" | "inherit"): Promise<Deno.CommandOutput> {
  return new Deno.Command(Deno.execPath(), { args, stdin: "null", stdout: "null", stderr }).output();
}

async function decide(): Promise<Choice> {
  const cached = await deno(["run", "--cached-only", "--no-check", "--no-prompt", NEEDED], "piped");
  if (cached.success) return JSR;
  if (cached.code === INTEGRITY_ERROR) {
    await Deno.stderr.write(cached.stderr);
    throw new NoChoice("a package in the cache does not match deno.lock");
  }
  const reason = await reasonWithoutJsr();
  if (reason !== undefined) {
    const notice = `std: the stand-ins of offline/, as JSR cannot be reached (${reason}). ${HOW_TO_CHANGE}\n`;
    return { flags: STAND_INS, notice };
  }
  const loaded = await deno(["cache", "--no-check", NEEDED], "inherit");
  if (!loaded.success) throw new NoChoice("JSR can be reached, and its packages cannot be used");
  return JSR;
}

if (import.meta.main) {
  const [word] = Deno.args;
  try {
    const remembered = await recall();
    let choice = word === "again" ? undefined : remembered;
    if (choice === undefined) {
      const decided = await decide();
      if (remembered !== undefined) await forget();
      choice = await remember(decided);
    }
    if (word === undefined) {
      await Deno.stderr.write(new TextEncoder().encode(choice.notice));
      console.log(choice.flags);
    } else {
      console.log(choice.notice.trim() || `std: the packages of JSR. ${HOW_TO_CHANGE}`);
    }
  } catch (error) {
    if (!(error instanceof NoChoice)) throw error;
    console.error(
      `std: no choice, as ${error.message} (see above). The stand-ins of offline/ are for when JSR cannot be reached.`,
    );
    Deno.exit(1);
  }
}
