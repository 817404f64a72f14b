/**
 * The environment and the files of this process, as far as its permissions go.
 *
 * @module
 */

import { assertUtf8, type ReadVariable, UsageError } from "./command_line.ts";

/** The surroundings of a command line: variables and files. */
export interface Environment {
  /** The value of a variable; `undefined` if there is none, or no permission for it. */
  readonly variable: ReadVariable;
  /** Whether there is a permission for a variable: without it, a value may be there that nobody sees. */
  mayRead(name: string): boolean;
  /** The names of the variables that are not empty and may be read; no name where the permissions do not let a program list them. */
  names(): readonly string[];
  /** The bytes of a file. */
  readFile(path: string): Promise<Uint8Array>;
}

/** The environment and the files of this process. */
export const PROCESS: Environment = {
  variable: (name) => PROCESS.mayRead(name) ? readVariable(name) : undefined,
  mayRead: (name) => Deno.permissions.querySync({ name: "env", variable: name }).state === "granted",
  names: listVariables,
  readFile: (path) => Deno.readFile(path),
};

/** The runtime's error quotes the value, which may be a secret; a task may have put U+FFFD in place of the bytes. */
function readVariable(name: string): string | undefined {
  try {
    const value = Deno.env.get(name);
    if (value !== undefined) assertUtf8(`Variable ${name}`, value, "give UTF-8 without it");
    return value;
  } catch (error) {
    if (!(error instanceof Deno.errors.InvalidData)) throw error;
    throw new UsageError(`Variable ${name} is not UTF-8: give UTF-8`);
  }
}

/**
 * The runtime lists the environment with `--allow-env`, or with `--allow-env=WSPROOF_* --ignore-env`, which leaves only these
 * names in it. With `--allow-env=WSPROOF_*` alone it asks for more, in a terminal with a prompt.
 */
function listVariables(): readonly string[] {
  if (Deno.permissions.querySync({ name: "env" }).state === "prompt") return [];
  try {
    return Object.entries(Deno.env.toObject()).flatMap(([name, value]) => value === "" ? [] : [name]);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return [];
    throw error;
  }
}
