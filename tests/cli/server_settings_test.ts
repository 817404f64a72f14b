import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { UsageError } from "../../lib/cli/command_line.ts";
import type { ServeEchoOptions } from "../../lib/server/serve.ts";
import { parseServerLine, readServerSettings, SERVER_OPTIONS } from "../../lib/cli/server_settings.ts";
import { variableOf } from "../../lib/cli/command_line.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const CERT = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
const KEY = "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n";
const FILES: Record<string, Uint8Array> = {
  "token.txt": utf8("s3cret\n"),
  "spaces.txt": utf8("\ufeff s3cret \r\n\r\n"),
  "empty.txt": utf8("\n"),
  "binary.txt": Uint8Array.of(0xff, 0xfe),
  "cert.pem": utf8(CERT),
  "key.pem": utf8(KEY),
  "locked.pem": utf8("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n"),
  "old-locked.pem": utf8(
    "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END EC PRIVATE KEY-----\n",
  ),
};

function sourceOf(variables: Record<string, string> = {}) {
  return {
    variable: (name: string) => variables[name],
    mayRead: () => true,
    names: () => Object.keys(variables).filter((name) => variables[name] !== ""),
    readFile: (path: string) =>
      path in FILES
        ? Promise.resolve(FILES[path] ?? new Uint8Array(0))
        : Promise.reject(new Deno.errors.NotFound(`No such file: ${path}`)),
  };
}

async function settingsOf(args: readonly string[], variables: Record<string, string> = {}) {
  const source = sourceOf(variables);
  return await readServerSettings(parseServerLine(args, source), source);
}

Deno.test("readServerSettings() sets no default itself", async () => {
  assertEquals(await settingsOf([]), {
    serve: { transport: "builtin" },
    workers: 1,
    shutdownTimeoutMs: undefined,
    log: "text",
    lab: "no",
    labSettings: { cases: "all" },
    note: "",
  });
});

const FULL: ServeEchoOptions = {
  transport: "wire",
  hostname: "::1",
  port: 0,
  cert: CERT,
  key: KEY,
  protocols: ["v2", "v1"],
  maxMessageBytes: 1024,
  maxConnections: 5,
  maxBufferedBytes: 2048,
  maxBufferedTotalBytes: 4096,
  rate: { messagesPerSecond: 10, bytesPerSecond: 1048576 },
  idleTimeoutSeconds: 30,
  allowOrigins: ["https://a.example", "https://*.b.example"],
  requireOrigin: true,
  token: "s3cret",
};

const FULL_SETTINGS: Awaited<ReturnType<typeof settingsOf>> = {
  serve: FULL,
  workers: 3,
  shutdownTimeoutMs: 2500,
  log: "json",
  lab: "no",
  labSettings: { cases: "all" },
  note: "",
};

Deno.test("readServerSettings() reads every option", async () => {
  const settings = await settingsOf([
    ...["--transport", "wire", "--host", "[::1]", "--port", "0", "--cert", "cert.pem", "--key", "key.pem"],
    ...["-p", "v2", "--protocol", "v1", "--max-message", "1KiB", "--max-connections", "5", "--max-buffered", "2KiB"],
    ...["--max-buffered-total", "4KiB", "--rate", "10,1MiB", "--idle-timeout", "30", "--require-origin"],
    ...["--allow-origin", "https://a.example", "--allow-origin", "https://*.b.example", "--token", "token.txt"],
    ...["--shutdown-timeout", "2.5", "--log", "json", "--workers", "3"],
  ]);
  assertEquals(settings, FULL_SETTINGS);
});

Deno.test("readServerSettings() reads every option from the environment as well", async () => {
  const settings = await settingsOf([], {
    WSPROOF_TRANSPORT: "wire",
    WSPROOF_HOST: "::1",
    WSPROOF_PORT: "0",
    WSPROOF_CERT: "cert.pem",
    WSPROOF_KEY: "key.pem",
    WSPROOF_PROTOCOL: " v2  v1 ",
    WSPROOF_MAX_MESSAGE: "1KiB",
    WSPROOF_MAX_CONNECTIONS: "5",
    WSPROOF_MAX_BUFFERED: "2KiB",
    WSPROOF_MAX_BUFFERED_TOTAL: "4KiB",
    WSPROOF_RATE: "10,1MiB",
    WSPROOF_IDLE_TIMEOUT: "30",
    WSPROOF_REQUIRE_ORIGIN: "1",
    WSPROOF_ALLOW_ORIGIN: "https://a.example https://*.b.example",
    WSPROOF_TOKEN: "s3cret",
    WSPROOF_SHUTDOWN_TIMEOUT: "2.5",
    WSPROOF_LOG: "json",
    WSPROOF_WORKERS: "3",
  });
  assertEquals(settings, FULL_SETTINGS);
});

Deno.test("readServerSettings() uses a worker per core with auto, at most 64", async () => {
  const { workers } = await settingsOf(["--workers", "auto", "--transport", "wire"]);
  assertEquals(workers, Math.min(navigator.hardwareConcurrency, 64));
  await assertRejects(() => settingsOf(["--workers", "65", "--transport", "wire"]), UsageError, "from 1 to 64");
  await assertRejects(() => settingsOf(["--workers", "auto"]), UsageError, "give --transport wire");
  // A single worker is not several, over any transport.
  assertEquals((await settingsOf(["--workers", "1"])).workers, 1);
});

Deno.test("parseServerLine() prefers the command line to the environment, for lists too", () => {
  const source = sourceOf({ WSPROOF_PORT: "1", WSPROOF_PROTOCOL: "a b", WSPROOF_QUIET: "true", WSPROOF_LAB: "0" });
  const line = parseServerLine(["--port", "2", "-p", "c"], source);
  assertEquals([line.value("port"), line.values("protocol"), line.has("quiet"), line.has("lab")], [
    "2",
    ["c"],
    true,
    false,
  ]);
  assertEquals(line.variables, new Set(["quiet", "lab"]));
  // Two options with the same meaning.
  assertEquals(parseServerLine(["--log", "json"], source).has("quiet"), false);
});

Deno.test("variableOf() names a variable for each option, and an empty one counts as missing", async () => {
  const options = SERVER_OPTIONS.filter(({ name }) => name !== "token");
  const variables = Object.fromEntries(options.map(({ name }) => [variableOf(name), ""]));
  assertEquals(await settingsOf([], variables), await settingsOf([]));
});

for (
  const [args, message] of [
    [["--max-connections", "0"], 'Option --max-connections cannot be "0": give a whole number from 1 to 1000000'],
    [["--max-buffered", "x"], 'Option --max-buffered cannot be "x": give bytes, or a number with KiB, MiB or GiB'],
    [["--max-buffered-total", "-1"], 'Option --max-buffered-total cannot be "-1": give bytes, or a number'],
    [["--rate", ""], 'Option --rate cannot be "": give messages a second, or both as 100,1MiB'],
    [["--rate", "1,2,3"], 'Option --rate cannot be "1,2,3": give messages a second, or both as 100,1MiB'],
    [["--rate", "0"], 'Option --rate cannot be "0": give a whole number from 1 to 1000000000'],
    [["--rate", "5,"], 'Option --rate cannot be "5,": give messages a second, or both as 100,1MiB'],
    [["--rate", "5,x"], 'Option --rate cannot be "x": give bytes, or a number with KiB, MiB or GiB'],
    [["--idle-timeout", "-1"], 'Option --idle-timeout cannot be "-1": give a whole number from 0 to 86400'],
    [["--idle-timeout", "0.5"], 'Option --idle-timeout cannot be "0.5": give a whole number from 0 to 86400'],
    [["--max-message", "0"], 'Option --max-message cannot be "0": give at least 1 byte'],
    [["--max-buffered", "0B"], 'Option --max-buffered cannot be "0B": give at least 1 byte'],
    [["--shutdown-timeout", "0"], 'Option --shutdown-timeout cannot be "0": give seconds, above 0 and at most 86400'],
    [
      ["--allow-origin", "app.example"],
      'Option --allow-origin cannot be "app.example": give https://app.example, https://*.app.example, null or *',
    ],
    [["--protocol", "a b"], 'Option --protocol cannot be "a b": give letters, digits or any of '],
    [
      ["--protocol", "wsproof.bearer.x"],
      'Option --protocol cannot be "wsproof.bearer.x": such names carry tokens',
    ],
    [["--cert", "cert.pem"], "Options --cert and --key belong together: give both"],
    [["--key", "key.pem"], "Options --cert and --key belong together: give both"],
    [["--cert", "none.pem", "--key", "key.pem"], 'Option --cert cannot be "none.pem": no such file'],
    [
      ["--cert", "key.pem", "--key", "key.pem"],
      'Option --cert cannot be "key.pem": the file has no PEM block "CERTIFICATE"',
    ],
    [
      ["--cert", "cert.pem", "--key", "cert.pem"],
      'Option --key cannot be "cert.pem": the file has no PEM block "PRIVATE KEY"',
    ],
    [["--cert", "cert.pem", "--key", "locked.pem"], 'Option --key cannot be "locked.pem": the key is encrypted'],
    [
      ["--cert", "cert.pem", "--key", "old-locked.pem"],
      'Option --key cannot be "old-locked.pem": the key is encrypted',
    ],
    [["--cert", "empty.txt", "--key", "key.pem"], 'Option --cert cannot be "empty.txt": it is empty'],
    [["--token", "empty.txt"], "Option --token gives an empty token, which keeps nobody out: write a token"],
    [["--token", "binary.txt"], "Option --token names a file that is not UTF-8: write the token as text"],
    [["--lab", "--token", "token.txt"], "Option --token cannot be used with --lab: leave it out"],
    [["--lab", "--require-origin"], "Option --require-origin cannot be used with --lab: leave it out"],
  ] as const
) {
  Deno.test(`readServerSettings() says what is wrong with ${args.join(" ")}`, async () => {
    await assertRejects(() => settingsOf(args), UsageError, message);
  });
}

Deno.test("readServerSettings() never shows a token that was given instead of its file", async () => {
  const error = await assertRejects(
    () => settingsOf(["--token", "hunter2"]),
    UsageError,
    "Option --token names no file",
  );
  assertEquals(error.message.includes("hunter2"), false);
});

Deno.test("readServerSettings() names the variable of the environment that is wrong", async () => {
  await assertRejects(
    () => settingsOf([], { WSPROOF_RATE: "fast" }),
    UsageError,
    'Variable WSPROOF_RATE cannot be "fast": give a whole number',
  );
  assertThrows(
    () => parseServerLine([], sourceOf({ WSPROOF_REQUIRE_ORIGIN: "maybe" })),
    UsageError,
    'Variable WSPROOF_REQUIRE_ORIGIN cannot be "maybe": give 1 or 0',
  );
});

Deno.test("readServerSettings() names the variable of a certificate that cannot be used", async () => {
  await assertRejects(
    () => settingsOf([], { WSPROOF_CERT: "none.pem", WSPROOF_KEY: "key.pem" }),
    UsageError,
    'Variable WSPROOF_CERT cannot be "none.pem": no such file',
  );
  await assertRejects(
    () => settingsOf(["--cert", "cert.pem"], { WSPROOF_KEY: "cert.pem" }),
    UsageError,
    'Variable WSPROOF_KEY cannot be "cert.pem": the file has no PEM block "PRIVATE KEY"',
  );
});

Deno.test("readServerSettings() notes a variable that matches no option, and starts", async () => {
  const { note, serve } = await settingsOf([], { WSPROOF_MAX_MESAGE: "1KiB", WSPROOF_PORT: "1", HOME: "/" });
  const line =
    "The server ignores variables that match no option: WSPROOF_MAX_MESAGE (did you mean WSPROOF_MAX_MESSAGE?)";
  assertEquals([note, serve], [line, { transport: "builtin", port: 1 }]);
});

for (
  const [variables, message] of [
    [{ WSPROOF_PORT: "80" }, "Variable WSPROOF_PORT cannot be used with deno serve: leave it out"],
    [{ WSPROOF_KEY: "key.pem" }, "Variable WSPROOF_KEY cannot be used with deno serve: leave it out"],
    [{ WSPROOF_LAB: "1" }, "Variable WSPROOF_LAB cannot be used with deno serve: leave it out"],
    [{ WSPROOF_TRANSPORT: "wire" }, 'Variable WSPROOF_TRANSPORT cannot be "wire" with deno serve: use server.ts'],
  ] as const
) {
  Deno.test(`readServerSettings() says "${message}", when deno serve listens`, async () => {
    const source = sourceOf(variables);
    const reading = () => readServerSettings(parseServerLine([], source), source, "deno serve");
    await assertRejects(reading, UsageError, message);
  });
}

Deno.test("readServerSettings() strips the white space around a token, which no client could send", async () => {
  assertEquals((await settingsOf(["--token", "spaces.txt"])).serve.token, "s3cret");
  assertEquals((await settingsOf([], { WSPROOF_TOKEN: "s3cret\n" })).serve.token, "s3cret");
});

Deno.test("readServerSettings() refuses a token that would let anybody in", async () => {
  await assertRejects(
    () => settingsOf([], { WSPROOF_TOKEN: "" }),
    UsageError,
    "Variable WSPROOF_TOKEN gives an empty token, which keeps nobody out: write a token",
  );
  await assertRejects(
    () => settingsOf(["--lab"], { WSPROOF_TOKEN: "x" }),
    UsageError,
    "Variable WSPROOF_TOKEN cannot be used with --lab: leave it out",
  );
  const blind = { ...sourceOf(), mayRead: () => false };
  const { note } = await readServerSettings(parseServerLine([], blind), blind);
  assertEquals(
    note,
    "The environment cannot be read, so no variable counts, not even WSPROOF_TOKEN: give --allow-env=WSPROOF_*",
  );
});
