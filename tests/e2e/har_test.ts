/** The file of --har: HAR 1.2, with messages in Chrome's form. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { HarRecorder, MAX_HAR_BYTES, MAX_HAR_MESSAGES } from "../../lib/client/har.ts";
import { escapeUnprintable } from "../../lib/protocol/message.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { client, type Outcome, outcomeOf, startScript } from "../support/command.ts";
import { BINARY, rawPeer, TEXT } from "../support/raw_peer.ts";
import { TRANSPORTS } from "../support/transports.ts";

// deno-lint-ignore no-explicit-any -- read as any program reads JSON
type Json = any;

/** Runs the client with --har; returns the file. */
async function recorded(args: readonly string[], input = ""): Promise<{ outcome: Outcome; log: Json }> {
  const path = await Deno.makeTempFile({ suffix: ".har" });
  const outcome = await client(["--har", path, ...args], input, ["--allow-write"]);
  const { log } = JSON.parse(await Deno.readTextFile(path));
  await Deno.remove(path);
  return { outcome, log };
}

/** The required fields of each object in HAR 1.2. */
const REQUIRED = {
  log: ["version", "creator", "entries"],
  entry: ["startedDateTime", "time", "request", "response", "cache", "timings"],
  request: ["method", "url", "httpVersion", "cookies", "headers", "queryString", "headersSize", "bodySize"],
  response: [
    "status",
    "statusText",
    "httpVersion",
    "cookies",
    "headers",
    "content",
    "redirectURL",
    "headersSize",
    "bodySize",
  ],
  timings: ["send", "wait", "receive"],
};

function assertHas(object: Json, names: readonly string[]): void {
  assertEquals(names.filter((name) => object[name] === undefined), []);
}

for (const transport of TRANSPORTS) {
  Deno.test(`client --har writes the exchange as HAR 1.2 over ${transport}`, async () => {
    await using peer = rawPeer(async (socket) => {
      await socket.upgrade();
      await socket.frame(TEXT, "né");
      await socket.readFrame();
      await socket.frame(BINARY, Uint8Array.of(0, 255));
      await socket.answerClose();
    });
    const url = peer.url.replace("ws://", "ws://me:secret@");
    const { outcome, log } = await recorded(["--transport", transport, "--skip", "1", "--reply-any", `${url}?a=1`]);
    assertEquals(outcome.code, 0, outcome.stderr);
    const [entry] = log.entries;
    assertEquals([log.version, log.entries.length, entry._resourceType], ["1.2", 1, "websocket"]);
    assertHas(log, REQUIRED.log);
    assertHas(entry, REQUIRED.entry);
    assertHas(entry.request, REQUIRED.request);
    assertHas(entry.response, REQUIRED.response);
    assertHas(entry.timings, REQUIRED.timings);
    assertEquals(new Date(entry.startedDateTime).toISOString(), entry.startedDateTime);
    assertEquals(entry.response.status, 101);
    assertEquals(entry.request.queryString, [{ name: "a", value: "1" }]);
    const messages = entry._webSocketMessages;
    assertEquals(messages.map(({ time: _, ...rest }: Json) => rest), [
      { type: "receive", opcode: 1, data: "né" },
      { type: "send", opcode: 1, data: "Hello world" },
      { type: "receive", opcode: 2, data: "AP8=" },
    ]);
    for (const { time } of messages) assertEquals(Math.abs(time - Date.now() / 1000) < 600, true);
    assertEquals(JSON.stringify(log).includes("secret"), false);
    assertEquals(JSON.stringify(log).includes(btoa("me:secret")), false);
    const names = entry.request.headers.map(({ name }: Json) => name);
    assertEquals(names.includes("Sec-WebSocket-Key"), transport === "wire");
    assertMatch(entry.comment, /^Peer closed with 1000/);
  });
}

Deno.test("client --har writes a refusal with its status and fields", async () => {
  await using peer = rawPeer(async (socket) => {
    await socket.readHead();
    await socket.write("HTTP/1.1 403 Forbidden\r\nX-Reason: no\r\nSet-Cookie: a=1\r\nContent-Length: 4\r\n\r\nsorry");
  });
  const { outcome, log } = await recorded(["--transport", "wire", peer.url]);
  assertEquals(outcome.code, 4);
  const [{ response, _webSocketMessages: messages }] = log.entries;
  assertEquals([response.status, response.statusText, response.content.text, messages], [403, "Forbidden", "sorr", []]);
  assertEquals(response.headers[0], { name: "X-Reason", value: "no" });
  assertEquals(JSON.stringify(log).includes("a=1"), false);
});

Deno.test("client -i --har writes a conversation", async () => {
  const server = serveEcho({ port: 0 });
  const { outcome, log } = await recorded(["-i", server.url], "one\n/binary ff\n");
  await server.shutdown();
  assertEquals(outcome.code, 0, outcome.stderr);
  assertEquals(log.entries[0]._webSocketMessages.map(({ type, data }: Json) => [type, data]), [
    ["send", "one"],
    ["receive", "one"],
    ["send", "/w=="],
    ["receive", "/w=="],
  ]);
});

Deno.test("client --har says usage and sends nothing, when it cannot write", async () => {
  const denied = await client(["--har", "x.har", "ws://127.0.0.1:1/"]);
  assertEquals(denied.code, 2);
  assertMatch(denied.stderr, /^wsproof: Option --har has no permission to write "x\.har": run deno task -q client:har/);
  const missing = await client(["--har", "/no/such/x.har", "ws://127.0.0.1:1/"], "", ["--allow-write"]);
  assertEquals(missing.code, 2);
  assertStringIncludes(missing.stderr, 'Option --har cannot write "/no/such/x.har"');
});

Deno.test("HarRecorder leaves messages out above 64 MiB, and says how many", () => {
  assertEquals(MAX_HAR_BYTES, 67_108_864);
  const recorder = new HarRecorder({ url: "ws://127.0.0.1/" });
  const message = "x".repeat(MAX_HAR_BYTES / 2);
  for (let sent = 0; sent < 4; sent++) recorder.onMessage(message, "out");
  const [entry] = JSON.parse(recorder.toJson({})).log.entries;
  assertEquals(entry._webSocketMessages.length, 2);
  assertStringIncludes(entry.comment, "2 messages are left out: the file holds at most 67108864 bytes");
});

Deno.test({
  name: "HarFile.write() throws UsageError that names the file, when the disk is full",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    // Only a process with every permission may open a device.
    const { code, stdout, stderr } = await outcomeOf(startScript(`
      import { HarFile } from "./lib/cli/har_file.ts";
      const file = await HarFile.create("/dev/full", "ws://127.0.0.1/", {});
      await file.write({}).catch((error) => console.log(error.name, error.message));`));
    assertEquals([code, stderr], [0, ""]);
    assertMatch(stdout, /^UsageError Option --har cannot write "\/dev\/full": No space left on device/);
  },
});

Deno.test("HarRecorder leaves messages out above 500,000, as no string holds the JSON of millions", () => {
  assertEquals(MAX_HAR_MESSAGES, 500_000);
  const recorder = new HarRecorder({ url: "ws://127.0.0.1/" });
  for (let sent = 0; sent < MAX_HAR_MESSAGES + 2; sent++) recorder.onMessage("", "out");
  const [entry] = JSON.parse(recorder.toJson({})).log.entries;
  assertEquals(entry._webSocketMessages.length, MAX_HAR_MESSAGES);
  assertStringIncludes(entry.comment, "2 messages are left out");
});

Deno.test("HarRecorder.toJson() has no control and direction characters, and the JSON says the same", () => {
  const recorder = new HarRecorder({ url: "ws://127.0.0.1/" });
  const message = "\u001b[31m\u009b2J\u0085\u2028\u202e\n";
  recorder.onMessage(message, "in");
  const json = recorder.toJson({});
  assertEquals(json.replaceAll("\n", ""), escapeUnprintable(json.replaceAll("\n", "")));
  assertEquals(JSON.parse(json).log.entries[0]._webSocketMessages[0].data, message);
});

Deno.test("HarRecorder.toJson() has no token that a server repeats, and no password of its redirect", () => {
  const token = "wsproof.bearer.b3Blbg";
  const recorder = new HarRecorder({ url: "ws://127.0.0.1/" });
  const frame = { code: 1008, reason: token };
  const close = {
    sent: null,
    received: frame,
    initiator: "peer",
    end: "close-frame",
    tcp: "peer",
    detail: "",
  } as const;
  const fields = [["Location", "https://me:b3Blbg@a/"], ["Set-Cookie", "b3Blbg"]] as const;
  const refusal = { from: "server", status: 302, problems: [], fields, body: `bad ${token}` } as const;
  const json = recorder.toJson({ refusal, close });
  assertStringIncludes(json, "wsproof.bearer.***");
  assertEquals(json.includes("b3Blbg"), false, json);
});
