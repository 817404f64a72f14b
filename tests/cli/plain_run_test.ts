import { assertEquals } from "@std/assert";
import { CLIENT_OPTIONS, readClientSettings } from "../../lib/cli/client_settings.ts";
import { parseCommandLine } from "../../lib/cli/command_line.ts";
import { plainRun } from "../../lib/cli/plain_run.ts";
import { exchange } from "../../lib/client/exchange.ts";
import { serveEcho } from "../../lib/server/serve.ts";

const OTHERS: readonly (readonly string[])[] = [
  [],
  [""],
  ["serve"],
  ["--help"],
  ["ws://127.0.0.1/", "ws://127.0.0.1/"],
  ["--json", "ws://127.0.0.1/"],
  ["--", "ws://127.0.0.1/"],
  ["http://127.0.0.1/"],
  ["127.0.0.1:6455"],
  ["ws:/127.0.0.1/"],
  ["ws://"],
  ["ws://127.0.0.1/#part"],
  ["ws://127.0.0.1/a b"],
  ["ws://127.0.0.1/\ufffd"],
  ["ws://127.0.0.1:0/"],
];
for (const args of OTHERS) {
  Deno.test(`plainRun() leaves ${JSON.stringify(args)} to the modules that read options`, () => {
    assertEquals(plainRun(args), undefined);
  });
}

Deno.test("plainRun() makes the same run as a command line with the default of an option", async () => {
  const server = serveEcho({ port: 0 });
  const url = server.url.replace(/\/$/, "");
  const plain = plainRun([url]);
  const read = await readClientSettings(parseCommandLine(["--transport", "builtin", url], CLIENT_OPTIONS));
  const { exchange: plainExchange, totalBytes: _, ...plainRest } = plain ?? { exchange: undefined, totalBytes: 0 };
  const { exchange: readExchange, totalBytes, ...readRest } = read;
  assertEquals(plainRest, readRest);
  assertEquals(totalBytes, 11);
  const withoutTimes = (report: unknown) =>
    JSON.parse(JSON.stringify(report, (key, value) => /^(ms|\w+At)$/.test(key) ? undefined : value));
  const [report, expected] = [await exchange(server.url, plainExchange), await exchange(server.url, readExchange)];
  await server.shutdown();
  assertEquals(report.verdict, "proven");
  assertEquals(withoutTimes(report), withoutTimes(expected));
});
