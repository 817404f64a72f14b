/** Hosts: a server listens on all addresses of a name and prints the bound ones, and a client looks there. */

import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { addressesOf, bindable, ListenError, listeningAddress, LOOPBACK_ADDRESSES } from "../../lib/net/host.ts";
import { serveLab } from "../../lib/lab/lab.ts";
import { serveEcho } from "../../lib/server/serve.ts";
import { exchange } from "../../lib/client/exchange.ts";
import { openWire } from "../../lib/connection/wire.ts";
import { createAuthority } from "../support/certificates.ts";
import { outcomeOf, serverProcess, start } from "../support/command.ts";
import { testBoth } from "../support/transports.ts";

/** Whether this machine has the loopback address of IPv6. */
const hasIpv6 = (() => {
  try {
    Deno.listen({ hostname: "::1", port: 0 }).close();
    return true;
  } catch {
    return false;
  }
})();
const needsIpv6 = { ignore: !hasIpv6 };

/** An address that no machine has (RFC 3849). */
const NOWHERE = "2001:db8::1";

async function verdictOf(url: string): Promise<string> {
  return (await exchange(url)).verdict;
}

Deno.test("addressesOf() is the loopback address of both families, when the host is localhost or below it", async () => {
  for (const host of ["localhost", "LocalHost", "localhost.", "app.localhost"]) {
    assertEquals(await addressesOf(host), ["127.0.0.1", "::1"]);
  }
});

Deno.test("addressesOf() is the host itself, when it is an address or unknown to the system", async () => {
  for (const host of ["0.0.0.0", "::", "::1", "fe80::1%eth0", "no-such-host.invalid"]) {
    assertEquals(await addressesOf(host), [host]);
  }
});

Deno.test({
  name: "addressesOf() is the system's answer, when the host is another name",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    // Not an address in this form, but one for the system.
    assertEquals(await addressesOf("127.1"), ["127.0.0.1"]);
  },
});

Deno.test({
  name: "bindable() finds one port for all addresses, when the port is free to choose",
  ...needsIpv6,
  fn: () => {
    const { addresses, port } = bindable(LOOPBACK_ADDRESSES, 0);
    assertEquals(addresses, LOOPBACK_ADDRESSES);
    for (const hostname of addresses) Deno.listen({ hostname, port }).close();
  },
});

Deno.test({
  name: "bindable() throws and names the address, when the port is taken on one of them",
  ...needsIpv6,
  fn: () => {
    using other = Deno.listen({ hostname: "::1", port: 0 });
    const { port } = other.addr;
    const error = assertThrows(() => bindable(LOOPBACK_ADDRESSES, port), ListenError);
    assertEquals(
      error.message,
      `Cannot listen on host "::1", port ${port}: the port is in use; give another --port, or 0`,
    );
    // The other address is free again.
    Deno.listen({ hostname: "127.0.0.1", port }).close();
  },
});

Deno.test("bindable() leaves an address out, when the machine does not have it", () => {
  assertEquals(bindable([NOWHERE, "127.0.0.1"], 0).addresses, ["127.0.0.1"]);
});

Deno.test("bindable() throws, when the machine has none of the addresses", () => {
  const error = assertThrows(() => bindable([NOWHERE, "2001:db8::2"], 0), ListenError);
  assertMatch(error.message, /^Cannot listen on host "2001:db8::2", port 0: .*; give another --host$/);
});

Deno.test({
  name: "listeningAddress() finds the server, when it listens on either loopback address",
  ...needsIpv6,
  fn: async () => {
    for (const hostname of LOOPBACK_ADDRESSES) {
      using listener = Deno.listen({ hostname, port: 0 });
      assertEquals(await listeningAddress(listener.addr.port), hostname);
    }
  },
});

Deno.test("listeningAddress() is undefined, when nothing listens", async () => {
  const { port } = bindable(["127.0.0.1", NOWHERE], 0);
  assertEquals(await listeningAddress(port), undefined);
});

testBoth("serveEcho() listens on both loopback addresses, when the host name is localhost", async (transport) => {
  const server = serveEcho({ hostname: "localhost", port: 0, transport });
  const { port } = new URL(server.url);
  assertEquals(server.urls, [`ws://127.0.0.1:${port}/`, `ws://[::1]:${port}/`]);
  for (const url of server.urls) assertEquals(await verdictOf(url), "proven");
  assertEquals(server.stats().accepted, 2);
  await server.shutdown();
}, needsIpv6);

testBoth("serveEcho() closes the connections of every address, when it shuts down", async (transport) => {
  const server = serveEcho({ hostname: "localhost", port: 0, transport });
  const connections = await Promise.all(server.urls.map((url) => openWire(url)));
  const stopped = server.shutdown();
  for (const { closed } of connections) assertEquals((await closed).received?.code, 1001);
  assertEquals(await stopped, 0);
  // The bound addresses are free.
  for (const url of server.urls) {
    const { hostname, port } = new URL(url);
    Deno.listen({ hostname: hostname.replace(/[[\]]/g, ""), port: Number(port) }).close();
  }
}, needsIpv6);

testBoth("serveEcho() listens on the present addresses, when the machine lacks one", async (transport) => {
  const server = serveEcho({ addresses: [NOWHERE, "127.0.0.1"], port: 0, transport });
  assertMatch(server.urls.join(" "), /^ws:\/\/127\.0\.0\.1:\d+\/$/);
  assertEquals(await verdictOf(server.url), "proven");
  await server.shutdown();
});

testBoth("serveEcho() throws, when the port is taken on one address", (transport) => {
  // Free on the first address: many more programs listen there than on the second.
  const first = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = first.addr;
  using _second = Deno.listen({ hostname: "::1", port });
  first.close();
  assertThrows(() => serveEcho({ hostname: "localhost", port, transport }), ListenError, '"::1"');
  Deno.listen({ hostname: "127.0.0.1", port }).close();
  return Promise.resolve();
}, needsIpv6);

Deno.test({
  name: "serveLab() listens on both loopback addresses, when the host name is localhost",
  ...needsIpv6,
  fn: async () => {
    const lab = await serveLab({ hostname: "localhost", port: 0 });
    const { port } = new URL(lab.url);
    assertEquals(lab.urls, [`ws://127.0.0.1:${port}/`, `ws://[::1]:${port}/`]);
    for (const url of lab.urls) assertEquals(await verdictOf(`${url}corrupt`), "wrong-reply");
    await lab.shutdown();
  },
});

testBoth("server prints a line for each address, and answers on each, with --host localhost", async (transport) => {
  await using server = await serverProcess("--transport", transport, "--host", "localhost");
  const { port } = new URL(server.url);
  assertEquals(server.url, `ws://127.0.0.1:${port}/`);
  assertEquals(await server.nextLine(), `Listening on ws://[::1]:${port}/`);
  assertEquals(await verdictOf(server.url), "proven");
  assertEquals(await verdictOf(`ws://[::1]:${port}/`), "proven");
}, needsIpv6);

testBoth("server over TLS prints a line for each address, with --host localhost", async (transport) => {
  const { cert, key } = await (await createAuthority()).sign("localhost");
  const folder = await Deno.makeTempDir();
  await Deno.writeTextFile(`${folder}/cert.pem`, cert);
  await Deno.writeTextFile(`${folder}/key.pem`, key);
  const pair = ["--cert", `${folder}/cert.pem`, "--key", `${folder}/key.pem`];
  await using server = await serverProcess("--transport", transport, "--host", "localhost", ...pair);
  assertMatch(server.url, /^wss:\/\/127\.0\.0\.1:\d+\/$/);
  assertMatch(await server.nextLine(), /^Listening on wss:\/\/\[::1\]:\d+\/$/);
  await Deno.remove(folder, { recursive: true });
}, needsIpv6);

Deno.test({
  name: "server logs an event for each address, with --host localhost and --log json",
  ...needsIpv6,
  fn: async () => {
    await using server = await serverProcess("--log", "json", "--host", "localhost");
    const { type, url } = JSON.parse(await server.nextLine());
    assertEquals([type, url], ["listening", server.url.replace("127.0.0.1", "[::1]")]);
  },
});

for (const args of [["--transport", "builtin"], ["--transport", "wire"], ["--lab"]]) {
  Deno.test({
    name: `server says which address is taken and exits with 1, with --host localhost ${args.join(" ")}`,
    ...needsIpv6,
    fn: async () => {
      using other = Deno.listen({ hostname: "::1", port: 0 });
      const { port } = other.addr;
      const outcome = await outcomeOf(start("server.ts", ["--host", "localhost", "--port", `${port}`, ...args]));
      const line =
        `wsproof: Cannot listen on host "::1", port ${port}: the port is in use; give another --port, or 0\n`;
      assertEquals(outcome, { code: 1, stdout: "", stderr: line });
    },
  });

  Deno.test({
    name: `server prints the wildcard address that it has bound, with ${args.join(" ")} --host 0.0.0.0 or ::`,
    ...needsIpv6,
    fn: async () => {
      const besides = args.includes("--lab") ? ["--lab-public"] : [];
      for (const [host, shown] of [["0.0.0.0", "0.0.0.0"], ["::", "[::]"]] as const) {
        const child = start("server.ts", ["--port", "0", "--host", host, ...args, ...besides]);
        const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
        const { value = "" } = await reader.read();
        const port = /:(\d+)\/\n$/.exec(value)?.[1];
        assertEquals(value, `Listening on ws://${shown}:${port}/\n`);
        assertEquals(await verdictOf(`ws://127.0.0.1:${port}/echo`), "proven");
        child.kill("SIGKILL");
        await Promise.all([child.status, reader.cancel(), child.stderr.cancel()]);
      }
    },
  });

  Deno.test(`server says in one line which access it needs, with ${args.join(" ")} and too little`, async () => {
    for (const [host, needed] of [["127.0.0.1", "127.0.0.1:2"], ["localhost", "127.0.0.1:2"], ["::1", "[::1]:2"]]) {
      const outcome = await outcomeOf(
        start("server.ts", ["--host", `${host}`, "--port", "2", ...args], { net: "127.0.0.1:1" }),
      );
      const line = `wsproof: Requires net access to "${needed}", run again with the --allow-net flag\n`;
      assertEquals(outcome, { code: 2, stdout: "", stderr: line });
    }
  });
}
