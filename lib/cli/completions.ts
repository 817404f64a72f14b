/**
 * Completions for bash, zsh and fish, made from the data of the options. Pure: options in, a script out.
 *
 * @module
 */

import { CLIENT_OPTIONS } from "./client_settings.ts";
import { type OptionSpec, UsageError } from "./command_line.ts";
import type { Commands } from "./commands.ts";

/** One command line to complete: the client's, whose name is empty, or a command's. */
export interface Line {
  /** The name of the command; empty for the client. */
  readonly name: string;
  /** Its purpose. */
  readonly help: string;
  /** Its options. */
  readonly options: readonly OptionSpec[];
  /** Its possible operands. */
  readonly words: readonly string[];
}

/** The shells, with the writers of their scripts. */
export const SHELLS: Readonly<Record<string, (lines: readonly Line[]) => string>> = { bash, zsh, fish };

/**
 * Writes the completions for a shell.
 *
 * @param args The words behind the command: the name of the shell.
 * @param commands The commands of wsproof.
 * @returns The script.
 * @throws {UsageError} If no such shell has completions.
 *
 * @example
 * ```ts
 * import { completionsFor } from "./completions.ts";
 * import { assert } from "@std/assert";
 *
 * assert((await completionsFor(["bash"], {})).includes("--transport"));
 * ```
 */
export async function completionsFor([shell, extra]: readonly string[], commands: Commands): Promise<string> {
  const write = shell !== undefined && Object.hasOwn(SHELLS, shell) ? SHELLS[shell] : undefined;
  if (write === undefined || extra !== undefined) {
    throw new UsageError(`Command completions needs one shell: ${Object.keys(SHELLS).join(", ")}`);
  }
  const lines: Line[] = [{ name: "", help: "", options: CLIENT_OPTIONS, words: [] }];
  for (const [name, { help, options, words }] of Object.entries(commands)) {
    lines.push({ name, help, options: await options?.() ?? [], words: await words?.() ?? [] });
  }
  return write(lines);
}

/** The forms of an option: `-m` and `--message`. */
function formsOf({ name, short }: OptionSpec): string[] {
  return short === undefined ? [`--${name}`] : [`-${short}`, `--${name}`];
}

function isPath({ value }: OptionSpec): boolean {
  return value === "FILE" || value === "PATH" || value === "DIR";
}

function commandsOf(lines: readonly Line[]): readonly Line[] {
  return lines.filter(({ name }) => name !== "");
}

function bash(lines: readonly Line[]): string {
  const names = commandsOf(lines).map(({ name }) => name);
  const values = lines.flatMap(({ name, options }) =>
    options.filter(({ value }) => value !== undefined).map((option) => {
      const words = option.choices ? `words="${option.choices.join(" ")}"` : isPath(option) ? "files=1" : "return";
      return `    ${formsOf(option).map((form) => `${name}:${form}`).join("|")}) ${words} ;;`;
    })
  );
  const words = lines.map(({ name, options, words }) =>
    `      "${name}") words="${[...words, ...options.flatMap(formsOf)].join(" ")}" ;;`
  );
  return `# Completions of wsproof for bash. To load them: source <(wsproof completions bash)
_wsproof() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD-1]} command= words= files=
  # Bash makes a word of the sign in --option=value.
  if [[ $cur == = ]]; then cur=
  elif [[ $prev == = ]]; then prev=\${COMP_WORDS[COMP_CWORD-2]}
  fi
  if ((COMP_CWORD > 1)); then
    case \${COMP_WORDS[1]} in ${names.join("|")}) command=\${COMP_WORDS[1]} ;; esac
  fi
  COMPREPLY=()
  case $command:$prev in
${values.join("\n")}
    *)
      case $command in
${words.map((line) => `  ${line}`).join("\n")}
      esac
      if ((COMP_CWORD == 1)); then words="${names.join(" ")} $words"; fi
      ;;
  esac
  local IFS=$'\\n'
  if [[ $files ]]; then
    compopt -o filenames 2> /dev/null
    COMPREPLY=($(compgen -f -- "$cur"))
  else
    COMPREPLY=($(compgen -W "\${words// /$'\\n'}" -- "$cur"))
  fi
}
complete -F _wsproof wsproof`;
}

function zsh(lines: readonly Line[]): string {
  const escaped = (text: string) => text.replace(/[\\[\]:]/g, "\\$&").replaceAll("'", "'\\''");
  const functions = lines.map(({ name, options, words }) => {
    const specs = options.map((option) => {
      const { short, name, value, choices, help } = option;
      const action = choices ? `(${choices.join(" ")})` : isPath(option) ? "_files" : " ";
      const rest = `'[${escaped(help.join(" "))}]${value === undefined ? "" : `:${value}:${action}`}'`;
      const [letter, long] = value === undefined ? ["", ""] : ["+", "="];
      return short === undefined
        ? `'*--${name}${long}${rest.slice(1)}`
        : `'*'{-${short}${letter},--${name}${long}}${rest}`;
    });
    const operand = words.length === 0 ? [] : [`'1:operand:(${words.join(" ")})'`];
    const specLines = [...specs, ...operand].map((spec) => ` \\\n    ${spec}`).join("");
    return `_wsproof_${name || "client"}() {\n  _arguments -s -S${specLines}\n}`;
  });
  const commands = commandsOf(lines).map(({ name, help }) => `    '${name}:${escaped(help)}'`);
  return `#compdef wsproof
# Completions of wsproof for zsh. To load them: source <(wsproof completions zsh)
${functions.join("\n\n")}

_wsproof() {
  local -a commands=(
${commands.join("\n")}
  )
  if (( CURRENT > 2 )) && (( \${commands[(I)$words[2]:*]} )); then
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    _wsproof_$command
  else
    (( CURRENT == 2 )) && [[ $words[2] != -* ]] && _describe command commands
    _wsproof_client
  fi
}

compdef _wsproof wsproof`;
}

function fish(lines: readonly Line[]): string {
  const quoted = (text: string) => `'${text.replace(/[\\']/g, "\\$&")}'`;
  const names = commandsOf(lines).map(({ name }) => name).join(" ");
  const entries = lines.flatMap(({ name, help, options, words }) => {
    const start = `complete -c wsproof -n "__wsproof_runs '${name}'"`;
    const own = name === "" ? [] : [`complete -c wsproof -n __fish_use_subcommand -a ${name} -d ${quoted(help)}`];
    const operand = words.length === 0 ? [] : [`${start} -a ${quoted(words.join(" "))}`];
    return [
      ...own,
      ...operand,
      ...options.map((option) => {
        const letter = option.short === undefined ? "" : ` -s ${option.short}`;
        const values = option.choices ? ` -a ${quoted(option.choices.join(" "))}` : "";
        const value = option.value === undefined ? "" : isPath(option) ? " -r -F" : ` -x${values}`;
        return `${start}${letter} -l ${option.name}${value} -d ${quoted(option.help.join(" "))}`;
      }),
    ];
  });
  return `# Completions of wsproof for fish. To load them: wsproof completions fish | source
function __wsproof_runs
  set -l words (commandline -opc)
  set -l command $words[2]
  contains -- "$command" ${names}; or set command ''
  test "$command" = "$argv[1]"
end

complete -c wsproof -f
${entries.join("\n")}`;
}
