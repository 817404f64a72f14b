/** The handler for `deno serve`, through its real command line with a worker for each core. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { openBuiltin } from "../../lib/connection/builtin.ts";
import { within } from "../../lib/net/deadline.ts";
import { client, handlerProcess, outcomeOf, reportOf, startHandler } from "../support/command.ts";
import { connectRaw, rawClient, type RawSocket } from "../support/raw_peer.ts";

const WAIT = { timeoutMs: 60_000 };

Deno.test({
  name: "handler serves with several workers, its policy from the environment, and closes with 1001 at SIGTERM",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    const child = startHandler({
      WSPROOF_MAX_MESSAGE: "8",
      WSPROOF_LOG: "none",
      WSPROOF_ALLOW_ORIGIN: "https://app.example",
    });
    const stdout = new Response(child.stdout).text();
    const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
    let shown = "";
    while (!shown.includes("threads\n")) shown += (await reader.read()).value ?? "";
    const [, port] = /Listening on http:\/\/127\.0\.0\.1:(\d+)\/ with 2 threads/.exec(shown) ?? [];
    const url = `ws://127.0.0.1:${port}/`;

    // The kernel assigns connections to workers.
    const connections = await Promise.all(Array.from({ length: 8 }, () => openBuiltin(url)));
    for (const connection of connections) {
      await connection.send("12345678");
      assertEquals(await connection.receive(WAIT), "12345678");
    }
    const tooLong = reportOf(await client(["--json", "-m", "123456789", url]));
    assertEquals(tooLong.close.received, { code: 1009, reason: "at most 8 bytes" });
    const foreign = reportOf(await client(["--json", "--transport", "wire", "--origin", "https://evil.example", url]));
    assertEquals(foreign.refusal.status, 403);
    const base = url.replace("ws:", "http:");
    const page = await fetch(base);
    assertMatch(await page.text(), /^<!doctype html>/i);
    const health = await fetch(new URL("/healthz", base));
    assertEquals([health.status, await health.text()], [200, "ok\n"]);

    child.kill("SIGTERM");
    for (const { closed } of connections) assertEquals((await closed).received?.code, 1001);
    assertEquals((await child.status).code, 0);
    assertEquals(await stdout, "");
    await reader.cancel();
  },
});

Deno.test({
  name: "handler ends at SIGTERM, although a peer has dropped TCP without a close frame",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    // The runtime alone would wait for its timer, which is a matter of this.
    await using server = await handlerProcess({ WSPROOF_IDLE_TIMEOUT: "3600", WSPROOF_LOG: "json" });
    const socket = await rawClient(server.url);
    assertEquals(JSON.parse(await server.nextLine()).type, "opened");
    socket.close();
    assertEquals(JSON.parse(await server.nextLine()).type, "closed");
    server.child.kill("SIGTERM");
    assertEquals((await server.ended()).code, 0);
  },
});

Deno.test({
  name: "handler ends with 1 and says why, when the runtime stops listening for lack of descriptors",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    await using server = await handlerProcess({ WSPROOF_LOG: "none" }, { descriptors: 200 });
    const sockets: RawSocket[] = [];
    try {
      // Half heads, until nobody listens any more.
      while (sockets.length < 1000) {
        const socket = await connectRaw(server.url);
        sockets.push(socket);
        await socket.write("GET / HTTP/1.1\r\n");
      }
    } catch {
      // That is the end of it.
    }
    const { code, stderr } = await server.ended();
    for (const socket of sockets) socket.close();
    assertEquals(code, 1);
    assertMatch(stderr, /wsproof: The runtime has stopped listening, for lack of free descriptors/);
  },
});

for (
  const [variables, message] of [
    [{ WSPROOF_RATE: "x" }, 'Variable WSPROOF_RATE cannot be "x": give a whole number from 1 to 1000000000'],
    [{ WSPROOF_PORT: "80" }, "Variable WSPROOF_PORT cannot be used with deno serve: leave it out"],
    [{ WSPROOF_TRANSPORT: "wire" }, 'Variable WSPROOF_TRANSPORT cannot be "wire" with deno serve: use server.ts'],
  ] as const
) {
  Deno.test(`handler says in one line what is wrong with ${JSON.stringify(variables)}, and ends with 2`, async () => {
    const { code, stderr } = await outcomeOf(startHandler(variables));
    assertEquals(code, 2);
    assertMatch(stderr, new RegExp(`wsproof: ${message}\\n`));
  });
}

Deno.test("handler says in one line that it takes no options, and ends with 2", async () => {
  const { code, stderr } = await outcomeOf(startHandler({}, "handler.ts", "--max-message", "3"));
  assertEquals(code, 2);
  assertMatch(stderr, /wsproof: deno serve passes "--max-message" on, which the handler does not accept: set WSPROOF_/);
});

Deno.test("handler says in one line which variables it ignores, and starts", async () => {
  const child = startHandler({ WSPROOF_LOG: "none", WSPROOF_MAX_MESAGE: "8" });
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  const line = "wsproof: The server ignores variables that match no option: " +
    "WSPROOF_MAX_MESAGE (did you mean WSPROOF_MAX_MESSAGE?)\n";
  let shown = "";
  while (!shown.includes(line) || !shown.includes("threads\n")) {
    const { done, value } = await within(reader.read(), "output", WAIT);
    assert(!done, shown);
    shown += value;
  }
  child.kill("SIGKILL");
  await child.status;
  await reader.cancel();
  await child.stdout.cancel();
});
