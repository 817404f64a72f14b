/**
 * The common mistakes of new users of the command lines, as data: the action, the process beside it, and the things
 * that the answer must name. `docs/troubleshooting.md` shows them with the printed lines.
 */

import { serveLab } from "../../lib/lab/lab.ts";
import { serveEcho, type ServeEchoOptions } from "../../lib/server/serve.ts";
import { type Certificate, createAuthority, selfSigned } from "./certificates.ts";
import { outcomeOf, start } from "./command.ts";
import { rawPeer, type Script } from "./raw_peer.ts";

/** One mistake. In its words and environment, `PORT` stands for the port of the process beside it. */
export interface Mistake {
  /** The action. */
  readonly did: string;
  /** The words of the command line after `wsproof`. */
  readonly words: readonly string[];
  /** Environment variables. */
  readonly env?: Readonly<Record<string, string>>;
  /** The hosts for `--allow-net`; all by default. */
  readonly net?: string;
  /** The process beside it; by default nothing listens at `PORT`. */
  readonly beside?: string;
  /** The exit code. */
  readonly exit: number;
  /** The words that the answer must contain: the thing, its value, and the next step. */
  readonly names: readonly [thing: string, value: string, step: string];
}

export const MISTAKES: readonly Mistake[] = [
  {
    did: "a URL without its scheme",
    words: ["127.0.0.1:PORT/"],
    beside: "echo",
    exit: 2,
    names: ["URL", '"127.0.0.1:PORT/"', 'try "ws://127.0.0.1:PORT/"'],
  },
  {
    did: "a URL with another scheme",
    words: ["ftp://127.0.0.1:PORT/"],
    beside: "echo",
    exit: 2,
    names: ["URL", '"ftp://127.0.0.1:PORT/"', 'try "ws://127.0.0.1:PORT/"'],
  },
  {
    did: "the URL of a page, which counts as ws://",
    words: ["http://127.0.0.1:PORT/"],
    beside: "echo",
    exit: 0,
    names: ["upgraded", "ws://127.0.0.1:PORT/", "proven"],
  },
  {
    did: "a URL without its port",
    words: ["ws://127.0.0.1/"],
    exit: 3,
    names: ["No connection", "127.0.0.1:80", "check host and port"],
  },
  {
    did: "a port over 65535",
    words: ["ws://127.0.0.1:70010/"],
    exit: 2,
    names: ["port", "70010", "give one from 1 to 65535"],
  },
  {
    did: "a server that is down",
    words: ["ws://127.0.0.1:PORT/"],
    exit: 3,
    names: ["No connection", "127.0.0.1:PORT", "check host and port"],
  },
  {
    did: "a host that does not exist",
    words: ["ws://echo.invalid/"],
    exit: 3,
    names: ["unknown host name", "echo.invalid:80", "check the host"],
  },
  {
    did: "a proxy of the environment that is down",
    words: ["ws://echo.invalid/"],
    env: { http_proxy: "http://127.0.0.1:PORT" },
    exit: 3,
    names: ["proxy", "http://127.0.0.1:PORT", "--proxy none"],
  },
  {
    did: "ws:// to a server with TLS",
    words: ["ws://127.0.0.1:PORT/"],
    beside: "tls",
    exit: 4,
    names: ["upgrade", "it is TLS, not HTTP", "try wss://"],
  },
  {
    did: "wss:// to a server without TLS",
    words: ["wss://127.0.0.1:PORT/"],
    beside: "echo",
    exit: 3,
    names: ["does not speak TLS", "127.0.0.1:PORT", "try ws://"],
  },
  {
    did: "a self-signed certificate",
    words: ["wss://127.0.0.1:PORT/"],
    beside: "tls",
    exit: 3,
    names: ["self-signed", "127.0.0.1:PORT", "--ca"],
  },
  {
    did: "a certificate as openssl req -x509 makes it, trusted with --ca",
    words: ["--ca", "FOLDER/cert.pem", "wss://127.0.0.1:PORT/"],
    beside: "authority",
    exit: 3,
    names: ["certificate is that of a certificate authority", "127.0.0.1:PORT", "make one with CA:FALSE"],
  },
  {
    did: "a certificate that has expired",
    words: ["--ca", "FOLDER/ca.pem", "wss://127.0.0.1:PORT/"],
    beside: "expired",
    exit: 3,
    names: ["certificate has expired", "2021-01-01", "renew"],
  },
  {
    did: "a certificate for another name",
    words: ["--ca", "FOLDER/ca.pem", "wss://127.0.0.1:PORT/"],
    beside: "otherName",
    exit: 3,
    names: ["certificate is for another name", '"other.example"', "use a name"],
  },
  {
    did: "a path that does not exist",
    words: ["ws://127.0.0.1:PORT/chat"],
    beside: "notFound",
    exit: 4,
    names: ["404", '"/chat"', "check the path"],
  },
  {
    did: "a server for pages only",
    words: ["ws://127.0.0.1:PORT/"],
    beside: "page",
    exit: 4,
    names: ["200", '"/"', "check the path"],
  },
  {
    did: "no token",
    words: ["ws://127.0.0.1:PORT/"],
    beside: "token",
    exit: 4,
    names: ["401", "it requires credentials", "--header"],
  },
  {
    did: "an Origin that the server does not allow",
    words: ["--origin", "https://a.example", "ws://127.0.0.1:PORT/"],
    beside: "origin",
    exit: 4,
    names: ["403", '"https://a.example"', "an --origin other"],
  },
  {
    did: "a firewall that answers in place of the server",
    words: ["ws://127.0.0.1:PORT/"],
    beside: "firewall",
    exit: 4,
    names: ["403", "Blocked by policy 7", "--header"],
  },
  {
    did: "a subprotocol that the server does not have",
    words: ["-p", "chat", "ws://127.0.0.1:PORT/"],
    beside: "protocol",
    exit: 4,
    names: ["subprotocol", '"chat"', "--protocol"],
  },
  {
    did: "a server that does not answer",
    words: ["--connect-timeout", "1", "ws://127.0.0.1:PORT/"],
    beside: "silent",
    exit: 3,
    names: ["No answer", "127.0.0.1:PORT", "--connect-timeout"],
  },
  {
    did: "a server that sends no replies",
    words: ["--reply-timeout", "1", "ws://127.0.0.1:PORT/"],
    beside: "mute",
    exit: 5,
    names: ["No complete message", "1 s", "--reply-none"],
  },
  {
    did: "a server that does not echo",
    words: ["ws://127.0.0.1:PORT/"],
    beside: "noEcho",
    exit: 6,
    names: ["Wrong reply", "welcome", "--reply-any"],
  },
  {
    did: "a message that is longer than the server accepts",
    words: ["--size", "2KiB", "ws://127.0.0.1:PORT/"],
    beside: "small",
    exit: 7,
    names: ["message too big", "at most 1024 bytes", "--split"],
  },
  {
    did: "a message of two words without quotes",
    words: ["-m", "hello", "world", "ws://127.0.0.1:PORT/"],
    beside: "echo",
    exit: 2,
    names: ["Operand", '"world"', "quotes"],
  },
  {
    did: "a misspelt option",
    words: ["--mesage", "hello"],
    exit: 2,
    names: ["Option", "--mesage", "did you mean --message?"],
  },
  {
    did: "a misspelt command",
    words: ["sevre"],
    exit: 2,
    names: ["command", '"sevre"', "did you mean serve?"],
  },
  {
    did: "a file that does not exist",
    words: ["-f", "mesage.txt", "ws://127.0.0.1:PORT/"],
    exit: 2,
    names: ["no such file", '"mesage.txt"', "check the path"],
  },
  {
    did: "a size with another unit",
    words: ["--size", "5kb", "ws://127.0.0.1:PORT/"],
    exit: 2,
    names: ["Option --size", '"5kb"', "KiB"],
  },
  {
    did: "a close code that nobody may send",
    words: ["--close-code", "1006", "ws://127.0.0.1:PORT/"],
    exit: 2,
    names: ["Option --close-code", '"1006"', "give 1000 or 3000-4999"],
  },
  {
    did: "a message for a conversation",
    words: ["-i", "-m", "hello", "ws://127.0.0.1:PORT/"],
    exit: 2,
    names: ["--interactive", "--message", "give one of them"],
  },
  {
    did: "Deno without the permission for the network",
    words: ["ws://127.0.0.1:PORT/"],
    net: "echo.invalid",
    exit: 2,
    names: ["net access", "127.0.0.1:PORT", "--allow-net"],
  },
  {
    did: "a server on a port in use",
    words: ["serve", "--port", "PORT"],
    beside: "echo",
    exit: 1,
    names: ["port", "PORT", "--port"],
  },
  {
    did: "a certificate without its key",
    words: ["serve", "--port", "0", "--cert", "cert.pem"],
    exit: 2,
    names: ["--cert", "--key", "give both"],
  },
  {
    did: "a misspelt step of the lab",
    words: ["ws://127.0.0.1:PORT/corupt"],
    beside: "lab",
    exit: 4,
    names: ["404", "Segment 1", "check the path"],
  },
];

/** A process beside a mistake: its port, and the files that the mistake calls `FOLDER`. */
interface Beside {
  readonly port: number;
  readonly files?: Readonly<Record<string, string>>;
  stop(): PromiseLike<unknown>;
}

const BESIDE: Readonly<Record<string, () => Beside | Promise<Beside>>> = {
  echo: () => echo(),
  tls: async () => echo(await selfSigned(false)),
  authority: async () => {
    const tls = await selfSigned(true);
    return { ...peer((socket) => socket.untilGone(), tls), files: { "cert.pem": tls.cert } };
  },
  expired: () => signed({ hasExpired: true }),
  otherName: () => signed({ name: "other.example" }),
  notFound: () => peer(answering("404 Not Found", "Not Found")),
  page: () => peer(answering("200 OK", "<!doctype html><title>Shop</title><p>Welcome to the shop")),
  token: () => echo({ token: "s3cret" }),
  origin: () => echo({ allowOrigins: ["https://b.example"] }),
  firewall: () => peer(answering("403 Forbidden", "<h1>Blocked by policy 7</h1>")),
  protocol: () => echo({ protocols: ["superchat"] }),
  silent: () => peer((socket) => socket.untilStopped()),
  mute: () =>
    peer(async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await socket.answerClose();
    }),
  noEcho: () =>
    peer(async (socket) => {
      await socket.upgrade();
      await socket.readFrame();
      await socket.frame(1, '{"type":"welcome"}');
      await socket.answerClose();
    }),
  small: () => echo({ maxMessageBytes: 1024, transport: "wire" }),
  lab: async () => {
    const lab = await serveLab({ port: 0 });
    return { port: Number(new URL(lab.url).port), stop: () => lab.shutdown() };
  },
};

function echo(options: ServeEchoOptions = {}): Beside {
  const server = serveEcho({ port: 0, ...options });
  return { port: Number(new URL(server.url).port), stop: () => server.shutdown() };
}

function peer(script: Script, tls?: Certificate): Beside {
  const { port, [Symbol.asyncDispose]: stop } = rawPeer(script, tls);
  return { port, stop };
}

async function signed(options: Parameters<Awaited<ReturnType<typeof createAuthority>>["sign"]>[1]): Promise<Beside> {
  const authority = await createAuthority();
  const tls = await authority.sign("server", options);
  return { ...peer((socket) => socket.untilGone(), tls), files: { "ca.pem": authority.cert } };
}

function answering(status: string, body: string): Script {
  return async (socket) => {
    await socket.readHead();
    await socket.write(`HTTP/1.1 ${status}\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`);
    await socket.readToEnd();
  };
}

/** A port without a listener. */
function nothing(): Beside {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return { port: (listener.addr as Deno.NetAddr).port, stop: () => Promise.resolve() };
}

/** The answer to a mistake; `PORT` again stands for the port. */
export interface Answer {
  readonly code: number;
  /** The printed lines; of a proof only the first step and the verdict, with `…` for each time. */
  readonly lines: readonly string[];
}

/** Makes a mistake as a new user would. */
export async function make({ words, env = {}, net, beside }: Mistake): Promise<Answer> {
  const { port, files = {}, stop } = await (BESIDE[beside ?? ""] ?? nothing)();
  const folder = await Deno.makeTempDir();
  const filled = (text: string) => text.replaceAll("PORT", `${port}`).replaceAll("FOLDER", folder);
  try {
    for (const [name, content] of Object.entries(files)) await Deno.writeTextFile(`${folder}/${name}`, content);
    const variables = Object.entries(env).map(([name, value]) => [name, filled(value)]);
    const options = { env: Object.fromEntries(variables), ...(net !== undefined && { net }) };
    const [first, ...rest] = words.map(filled);
    const child = first === "serve" ? start("server.ts", rest, options) : start("main.ts", words.map(filled), options);
    const { code, stdout, stderr } = await outcomeOf(child);
    const printed = code === 0 ? stdout : stderr;
    const lines = printed.trimEnd().replaceAll(`${port}`, "PORT").replace(/\d+(\.\d+)? ms/g, "… ms").split("\n");
    const shown = code === 0 ? lines.filter((_, index) => index === 0 || index === lines.length - 1) : lines;
    return { code, lines: shown.map((line) => line.trim().replace(/ {2,}/g, " ")) };
  } finally {
    await stop();
    await Deno.remove(folder, { recursive: true });
  }
}

/** The section of docs/troubleshooting.md with the table. */
export const MISTAKES_HEADING = "## Common mistakes";

/** Writes the table of docs/troubleshooting.md, in the form of `deno fmt`. */
export function tableOf(answers: readonly (readonly [Mistake, Answer])[]): string {
  const rows = [
    ["Mistake", "Command", "Answer", "Exit"],
    ...answers.map(([mistake, { code, lines }]) => [
      mistake.did,
      codeOf(commandOf(mistake)),
      lines.map(codeOf).join("<br>"),
      `${code}`,
    ]),
  ];
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  const lineOf = (cells: readonly string[]) =>
    `| ${cells.map((cell, at) => cell.padEnd(widths[at] ?? 0)).join(" | ")} |`;
  const [head = [], ...body] = rows;
  return [lineOf(head), lineOf(widths.map((width) => "-".repeat(width))), ...body.map(lineOf)].join("\n");
}

/** The command line as typed. */
function commandOf({ words, env = {}, net }: Mistake): string {
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value} `).join("");
  const program = net === undefined ? "wsproof" : `deno run --allow-net=${net} main.ts`;
  return `${variables}${program} ${words.join(" ")}`;
}

/** The table shows the usual port. */
function codeOf(text: string): string {
  return `\`${text.replaceAll("PORT", "6455").replaceAll("FOLDER/", "").replaceAll("|", "\\|")}\``;
}

/** The table in the document. */
export function tableIn(document: string): string {
  const [, section = ""] = document.split(`\n${MISTAKES_HEADING}\n`);
  return /^\| Mistake [^]*?\|(?=\n\n)/m.exec(section)?.[0] ?? "";
}
