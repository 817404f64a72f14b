/** The options of the client, as settings of an exchange. */

import { assertEquals, assertRejects } from "@std/assert";
import { CLIENT_OPTIONS, type ClientSettings } from "../../lib/cli/client_settings.ts";
import { UsageError } from "../../lib/cli/command_line.ts";
import type { ExchangeOptions } from "../../lib/client/exchange_options.ts";
import { PayloadError } from "../../lib/client/usage.ts";
import type { Message } from "../../lib/protocol/message.ts";
import { MAX_BUILTIN_FRAME_BYTES } from "../../lib/connection/connection.ts";
import { messagesFor, sameProperties, settingsFor } from "../support/settings.ts";

const hex = (digits: string) => Uint8Array.fromHex(digits);

async function headersFor(args: readonly string[]): Promise<string[]> {
  const { exchange } = await settingsFor(args);
  return [...exchange.headers ?? []].map(([name, value]) => `${name}: ${value}`);
}

Deno.test("readClientSettings() sends one Hello world and expects its echo, when the command line is empty", async () => {
  const { exchange: { messages: _, headers, ...exchange }, ...settings } = await settingsFor([]);
  const output = {
    interactive: false,
    output: "lines",
    verbose: false,
    trace: false,
    har: undefined,
    hex: false,
  } as const;
  assertEquals(settings, { url: undefined, totalBytes: 11, ...output });
  assertEquals([...headers ?? []], []);
  assertEquals(exchange, {
    transport: "builtin",
    protocols: [],
    windowBytes: 0,
    expectation: { type: "echo" },
    close: { code: 1000, reason: "" },
    expectedClose: { code: 1000 },
    digest: false,
  });
  assertEquals(await messagesFor([]), ["Hello world"]);
});

const EFFECTS: readonly { args: string[]; exchange: ExchangeOptions }[] = [
  { args: ["--transport", "wire"], exchange: { transport: "wire" } },
  { args: ["--transport", "wire", "--fragment", "1KiB"], exchange: { fragmentBytes: 1024 } },
  { args: ["--transport", "wire", "--close-code", "1001"], exchange: { close: { code: 1001, reason: "" } } },
  { args: ["--reply", "pong"], exchange: { expectation: { type: "text", text: "pong" } } },
  { args: ["--reply", ""], exchange: { expectation: { type: "text", text: "" } } },
  { args: ["--reply-match", "^p.n"], exchange: { expectation: { type: "match", pattern: /^p.n/u } } },
  { args: ["--reply-any"], exchange: { expectation: { type: "any" } } },
  { args: ["--reply-none"], exchange: { expectation: { type: "none" } } },
  { args: ["--skip", "0"], exchange: { skip: 0 } },
  { args: ["--skip", "1000000000"], exchange: { skip: 1_000_000_000 } },
  { args: ["--protocol", "chat"], exchange: { protocols: ["chat"] } },
  { args: ["-p", "a, b", "-p", "c"], exchange: { protocols: ["a", "b", "c"] } },
  { args: ["--proxy", "http://a:1"], exchange: { proxy: "http://a:1" } },
  { args: ["--proxy", "https://a:1"], exchange: { proxy: "https://a:1" } },
  { args: ["--proxy", "socks5://u:p@a:1"], exchange: { proxy: "socks5://u:p@a:1" } },
  { args: ["--proxy", "socks5h://a:1"], exchange: { proxy: "socks5h://a:1" } },
  { args: ["--unix", "/run/a.sock"], exchange: { unixPath: "/run/a.sock" } },
  { args: ["--connect-timeout", "0.5"], exchange: { connectTimeoutMs: 500 } },
  { args: ["--reply-timeout", "2"], exchange: { replyTimeoutMs: 2000 } },
  { args: ["--close-timeout", "86400"], exchange: { closeTimeoutMs: 86_400_000 } },
  { args: ["--max-message", "1KiB"], exchange: { maxMessageBytes: 1024 } },
  { args: ["--split", "4"], exchange: { windowBytes: 4_194_304 } },
  { args: ["--json"], exchange: { digest: true } },
  { args: ["--close-reason", "bye"], exchange: { close: { code: 1000, reason: "bye" } } },
  { args: ["--close-reason", "€".repeat(41)], exchange: { close: { code: 1000, reason: "€".repeat(41) } } },
  { args: ["--close-code", "3000"], exchange: { close: { code: 3000, reason: "" }, expectedClose: { code: 3000 } } },
  { args: ["--close-code", "4999"], exchange: { close: { code: 4999, reason: "" }, expectedClose: { code: 4999 } } },
  { args: ["--expect-close", "1001"], exchange: { close: { code: 1000, reason: "" }, expectedClose: { code: 1001 } } },
  { args: ["--close-code", "3000", "--expect-close", "1014"], exchange: { expectedClose: { code: 1014 } } },
  { args: ["--transport", "wire", "--expect-close", "none"], exchange: { expectedClose: { code: 1005 } } },
  {
    args: ["--transport", "wire", "--expect-close", "none", "--expect-reason", ""],
    exchange: { expectedClose: { code: 1005, reason: "" } },
  },
  { args: ["--expect-reason", ""], exchange: { expectedClose: { code: 1000, reason: "" } } },
];
for (const { args, exchange } of EFFECTS) {
  Deno.test(`readClientSettings() sets ${Object.keys(exchange)}, when told ${args.join(" ")}`, async () => {
    assertEquals(sameProperties((await settingsFor(args)).exchange, exchange), { ...exchange });
  });
}

const OUTPUTS: readonly { args: string[]; settings: Partial<ClientSettings> }[] = [
  { args: ["--json"], settings: { output: "json", verbose: false } },
  { args: ["-q"], settings: { output: "nothing", verbose: false } },
  { args: ["-v"], settings: { output: "lines", verbose: true } },
  { args: ["--json", "-v"], settings: { output: "json", verbose: true } },
  { args: ["-i"], settings: { interactive: true, output: "lines" } },
  { args: ["-iq", "--reply-none"], settings: { interactive: true, output: "nothing" } },
  { args: ["-m", "né"], settings: { totalBytes: 3 } },
  { args: ["-m", "né", "-n", "5"], settings: { totalBytes: 15 } },
  { args: ["-n", "0"], settings: { totalBytes: 0 } },
  { args: ["--size", "1KiB", "--split", "100", "-n", "3"], settings: { totalBytes: 3072 } },
  { args: ["--file", "-", "--split", "1KiB"], settings: { totalBytes: undefined } },
  { args: ["--file", "/dev/null", "--split", "1KiB"], settings: { totalBytes: undefined } },
];
for (const { args, settings } of OUTPUTS) {
  Deno.test(`readClientSettings() sets ${Object.keys(settings)}, when told ${args.join(" ")}`, async () => {
    assertEquals(sameProperties(await settingsFor(args), settings), { ...settings });
  });
}

const URLS = [
  { args: ["ws://127.0.0.1"], url: "ws://127.0.0.1/" },
  { args: ["wss://example.com:8443/a?b=c"], url: "wss://example.com:8443/a?b=c" },
  { args: ["http://example.com/"], url: "ws://example.com/" },
  { args: ["HTTPS://EXAMPLE.com/"], url: "wss://example.com/" },
  { args: ["ws://user:secret@host/"], url: "ws://user:secret@host/" },
  { args: ["ws://[::1]:6455/"], url: "ws://[::1]:6455/" },
  { args: ["ws://host/path#fragment"], url: "ws://host/path" },
  { args: ["--unix", "/run/a.sock"], url: "ws://localhost/" },
  { args: ["--unix", "/run/a.sock", "ws://host/a"], url: "ws://host/a" },
];
for (const { args, url } of URLS) {
  Deno.test(`readClientSettings() connects to ${url}, when told ${args.join(" ")}`, async () => {
    assertEquals((await settingsFor(args)).url, url);
  });
}

const HEADERS = [
  { args: ["-H", "X-One: 1", "--header", "X-Two:2"], headers: ["X-One: 1", "X-Two: 2"] },
  { args: ["-H", "X-One: 1", "-H", "X-One: 2"], headers: ["X-One: 1", "X-One: 2"] },
  { args: ["-H", "X-Time: 12:30"], headers: ["X-Time: 12:30"] },
  { args: ["-H", "X-Empty:"], headers: ["X-Empty: "] },
  { args: ["-H", "X-Name: é"], headers: ["X-Name: é"] },
  { args: ["--origin", "https://example.com"], headers: ["Origin: https://example.com"] },
  { args: ["--origin", "null"], headers: ["Origin: null"] },
  { args: ["-H", "Cookie: a=1", "-H", "cookie: b=2"], headers: ["Cookie: a=1; b=2"] },
  { args: ["-H", "Host: vhost.example:8080"], headers: ["Host: vhost.example:8080"] },
];
for (const { args, headers } of HEADERS) {
  Deno.test(`readClientSettings() adds ${headers.join("; ")}, when told ${args.join(" ")}`, async () => {
    assertEquals(await headersFor(args), headers);
  });
}

const PAYLOADS: readonly { args: string[]; messages: Message[] }[] = [
  { args: ["-m", "né"], messages: ["né"] },
  { args: ["-m", ""], messages: [""] },
  { args: ["-b", "-m", "né"], messages: [hex("6ec3a9")] },
  { args: ["-m", "a", "-n", "3"], messages: ["a", "a", "a"] },
  { args: ["-n", "0"], messages: [] },
  { args: ["--size", "0"], messages: [hex("")] },
  { args: ["-m", "aé€😀", "--split", "4"], messages: ["aé", "€", "😀"] },
  { args: ["-m", "aé", "-b", "--split", "1"], messages: [hex("61"), hex("c3"), hex("a9")] },
  { args: ["-m", "Hello", "--split", "4", "-n", "2"], messages: ["Hell", "o", "Hell", "o"] },
  { args: ["-m", "", "--split", "4"], messages: [""] },
  { args: ["-m", "aaaaa", "--max-message", "5"], messages: ["aaaaa"] },
  { args: ["-m", "aaaaaa", "--max-message", "5", "--split", "5"], messages: ["aaaaa", "a"] },
  { args: ["-m", "aaaaaa", "--max-message", "5", "--reply", "ok"], messages: ["aaaaaa"] },
];
for (const { args, messages } of PAYLOADS) {
  Deno.test(`readClientSettings() sends the requested payload, when told ${args.join(" ")}`, async () => {
    assertEquals(await messagesFor(args), messages);
  });
}

Deno.test("readClientSettings() sends the same random bytes each time, when size and count are given", async () => {
  const [first, second, ...more] = await messagesFor(["--size", "70000", "-n", "2"]);
  assertEquals([first?.length, typeof first, more.length], [70_000, "object", 0]);
  assertEquals(second, first);
});

Deno.test("readClientSettings() accepts the longest frame, when no limit is given", async () => {
  const longest = `${MAX_BUILTIN_FRAME_BYTES}`;
  assertEquals(longest, "67108863");
  assertEquals((await messagesFor(["--size", longest])).map(({ length }) => length), [67_108_863]);
});

interface Refusal {
  readonly args: string[];
  readonly message: string;
}

/** The error of an invalid value. */
function cannotBe(option: string, text: string, advice: string): Refusal {
  return { args: [option, text], message: `Option ${option} cannot be "${text}": ${advice}` };
}

/** The error of two exclusive options, with any value. */
function excluded(first: string, second: string, ...value: string[]): Refusal {
  const message = `Options --${first} and --${second} exclude each other: give one of them`;
  return { args: [`--${first}`, ...(first === "interactive" ? [] : value), `--${second}`, ...value], message };
}

const USAGE_ERRORS: readonly Refusal[] = [
  excluded("message", "file", "1"),
  excluded("message", "size", "1"),
  excluded("file", "size", "1"),
  excluded("reply", "reply-match", "1"),
  excluded("reply-any", "reply-none"),
  excluded("json", "quiet"),
  excluded("verbose", "quiet"),
  excluded("proxy", "unix", "1"),
  ...["binary", "json"].map((name) => excluded("interactive", name)),
  ...["message", "file", "size", "count", "split"].map((name) => excluded("interactive", name, "1")),
  { args: ["ws://a/", "ws://b/"], message: "There is more than one URL: give only one" },
  { args: ["-m", "a", "ws://a/", "ws://b/"], message: "There is more than one URL: give only one" },
  {
    args: ["-m", "Hello", "world!", "ws://a/"],
    message: 'There is more than one URL: a message of several words needs quotes, as in -m "two words"',
  },
  {
    args: ["ws://a:70010/b"],
    message: 'URL "ws://a:70010/b" is not valid: port 70010 is too high: give one from 1 to 65535',
  },
  {
    args: ["ws://a:b/:70010"],
    message: 'URL "ws://a:***/:70010" is not valid: it should look like ws://host:port/path',
  },
  {
    args: ["ws://a:0/"],
    message: 'URL "ws://a:0/" is not valid: nothing can listen on port 0: give one from 1 to 65535',
  },
  { args: ["a:80"], message: 'URL "a:80" does not begin with ws:// or wss://: try "ws://a:80"' },
  { args: ["//a/"], message: 'URL "//a/" does not begin with ws:// or wss://: try "ws://a/"' },
  { args: ["ftp://a/"], message: 'URL "ftp://a/" does not begin with ws:// or wss://: try "ws://a/"' },
  { args: ["ws://"], message: 'URL "ws://" is not valid: it should look like ws://host:port/path' },
  { args: ["ws://a:b/"], message: 'URL "ws://a:***/" is not valid: it should look like ws://host:port/path' },
  cannotBe("--protocol", "a b", "give a name without spaces or separators"),
  cannotBe("--protocol", "", "give a name without spaces or separators"),
  { args: ["-p", "a", "-p", "b,a"], message: 'Option --protocol names "a" twice: leave one out' },
  { args: ["-H", "X-One"], message: 'Option --header has no colon: give "Name: value"' },
  ...[": 1", "X One: 1"].map((text) => ({
    args: ["-H", text],
    message: 'Option --header has a name that is not a token: give "Name: value"',
  })),
  ...["X: a\r\nY: b", "X: a\0", "X: €"].map((text) => ({
    args: ["-H", text],
    message: "Option --header cannot set X: its value has characters that a field cannot have",
  })),
  ...["a b", "a/b", "", "[::1", "a:99999", "<script>", "u@a"].map((text) => ({
    args: ["-H", `Host: ${text}`],
    message: "Option --header cannot set Host: give a host, or host:port",
  })),
  ...["Authorization", "Origin", "User-Agent", "Referer", "Host"].map((name) => ({
    args: ["-H", `${name}: a`, "-H", `${name.toLowerCase()}: b`],
    message: `Option --header sets ${name.toLowerCase()} twice: it takes one value, so give one`,
  })),
  {
    args: ["-H", "Origin: https://a.example", "--origin", "null"],
    message: "Options --header and --origin both set Origin: give one of them",
  },
  {
    args: ["-H", "Proxy-Authorization: a"],
    message: "Option --header cannot set Proxy-Authorization: use --proxy http://user:password@host:port",
  },
  {
    args: ["-H", "authorization: a", "ws://u:p@a/"],
    message: "Credentials are in the URL and in --header Authorization: give one of them",
  },
  ...["Upgrade", "connection", "Sec-WebSocket-Key", "sec-websocket-protocol"].map((name) => ({
    args: ["-H", `${name}: a`],
    message: `Option --header cannot set ${name}: the handshake does that; for subprotocols use --protocol`,
  })),
  cannotBe("--origin", "a", "give an origin such as https://example.com"),
  cannotBe("--origin", "https://€", ""),
  { args: ["--origin", "https://a\nb"], message: 'Option --origin cannot be "https://a\\nb"' },
  { args: ["--cert", "a"], message: "Options --cert and --key belong together: give both" },
  { args: ["--key", "a"], message: "Options --cert and --key belong together: give both" },
  ...["a:1", "ftp://a"].map((text) => cannotBe("--proxy", text, "give a URL such as http://host:port")),
  cannotBe("--transport", "tcp", "give builtin or wire"),
  { args: ["--trace"], message: "Option --trace needs --transport wire" },
  { args: ["--fragment", "9"], message: "Option --fragment needs --transport wire" },
  {
    args: ["--transport", "wire", "--fragment", "0"],
    message: 'Option --fragment cannot be "0": give at least 1 byte',
  },
  { args: ["--transport", "wire", "--close-code", "1006"], message: "Cannot close with code 1006" },
  cannotBe("--reply-match", "(", "Invalid regular expression"),
  ...["x", "65536"].map((text) => cannotBe("--close-code", text, "give a whole number from 0 to 65535")),
  ...["x", "65536"].map((text) => cannotBe("--expect-close", text, "give a whole number from 0 to 65535")),
  ...["999", "1001", "2999", "5000"].map((text) =>
    cannotBe("--close-code", text, "give 1000 or 3000-4999, or use --transport wire")
  ),
  ...["999", "1004", "1005", "1006", "1015", "2999", "5000"].map((text) =>
    cannotBe("--expect-close", text, "give 1000-1003, 1007-1014, 3000-4999 or none")
  ),
  { args: ["--expect-close", "none"], message: 'Option --expect-close cannot be "none" over the built-in WebSocket' },
  {
    args: ["--transport", "wire", "--expect-close", "none", "--expect-reason", "bye"],
    message: "Option --expect-reason needs a close code",
  },
  { args: ["--close-reason", "a".repeat(124)], message: "Cannot close with a reason of 124 bytes: at most 123 bytes" },
  ...["--connect-timeout", "--reply-timeout", "--close-timeout"].map((name) =>
    cannotBe(name, "0", "give seconds, above 0 and at most 86400")
  ),
  ...["--count", "--skip"].map((name) => cannotBe(name, "1000000001", "give a whole number from 0 to 1000000000")),
  ...["--size", "--max-message", "--split"].map((name) =>
    cannotBe(name, "x", "give bytes, or a number with KiB, MiB or GiB")
  ),
  cannotBe("--split", "3", "give 4 to 67108863 bytes"),
  cannotBe("--split", "64MiB", "give 4 to 67108863 bytes"),
  { args: ["-b", "--split", "0"], message: 'Option --split cannot be "0": give 1 to 67108863 bytes' },
  { args: ["--size", "9", "--split", "0"], message: 'Option --split cannot be "0": give 1 to 67108863 bytes' },
  { args: ["--max-message", "9", "--split", "10"], message: 'Option --split cannot be "10": give 4 to 9 bytes' },
  ...[["--reply", "hi"], ["--reply-match", "hi"], ["--reply-any"]].map((args) => ({
    args: ["-n", "0", ...args],
    message: `Option ${
      args[0]
    } cannot be used with --count 0, which sends nothing: use --skip N to expect unasked messages`,
  })),
  { args: ["-f", "-", "--split", "4", "-n", "2"], message: "cannot repeat standard input in parts: save it" },
];
for (const { args, message } of USAGE_ERRORS) {
  Deno.test(`readClientSettings() throws UsageError, when told ${JSON.stringify(args).slice(0, 80)}`, async () => {
    await assertRejects(() => settingsFor(args), UsageError, message);
  });
}

const SECRETS = [
  ["ws://me:s3/cret@127.0.0.1:1/"],
  ["ws://me:s3#cret@127.0.0.1:1/"],
  [" ws://me:s3cret@a/"],
  ["ftp://me:s3cret@a/"],
  ["me:s3cret@a"],
  ["ws://a/", "ws://me:s3cret@b/"],
  ["--proxy", "me:s3cret@a"],
  ["--proxy", "http://me:s3/cret@a"],
  ["-H", "Authorization Bearer s3cret"],
  ["-H", "X Y: s3cret"],
  ["-H", "Authorization: s3cret\n"],
  ["-H", "Authorization: s3cret", "-H", "Authorization: s3cret"],
  ["-H", "Host: s3cret/"],
  ["-p", "wsproof.bearer.s3cret="],
  ["-p", "wsproof.bearer.s3cret", "-p", "wsproof.bearer.s3cret"],
  ["--origin", "me:s3cret@a b"],
  ["ws://me:s3cret"],
  ["--transport", "ws://me:s3cret@a/"],
  ["--size", "ws://me:s3cret@a/"],
  ["--count", "ws://me:s3cret@a/"],
  ["--reply-timeout", "ws://me:s3cret@a/"],
  ["--file", "ws://me:s3cret@a/"],
  ["--ca", "me:s3cret@a"],
  ["--cert", "ws://me:s3cret@a/", "--key", "key.pem"],
  ["--unix", "ws://me:s3cret@a/"],
  ["--har", "ws://me:s3cret@a/"],
  ["--quiet=ws://me:s3cret@a/"],
  ["--ws://me:s3cret@a/"],
];
for (const args of SECRETS) {
  Deno.test(`readClientSettings() does not quote a secret, when told ${JSON.stringify(args)}`, async () => {
    const error = await assertRejects(() => settingsFor(args), UsageError);
    assertEquals(/s3|cret/.test(error.message), false, error.message);
  });
}

for (const [args, bytes] of [["-m aaaaaa --max-message 5", 5], ["--size 64MiB", 67_108_863]] as const) {
  Deno.test(`readClientSettings() throws PayloadError, when told ${args}`, async () => {
    const message = `Input is longer than ${bytes} bytes, the limit of one message: use --split`;
    await assertRejects(() => settingsFor(args.split(" ")), PayloadError, message);
  });
}

Deno.test("CLIENT_OPTIONS has no name and no letter twice", () => {
  const names = CLIENT_OPTIONS.flatMap(({ name, short }) => short === undefined ? [name] : [name, short]);
  assertEquals(names.length, new Set(names).size);
});
