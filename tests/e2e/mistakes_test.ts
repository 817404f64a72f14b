/** The answers to the common mistakes of new users, through the real command lines, against real sockets. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { listeningAddress } from "../../lib/net/host.ts";
import { type Answer, make, type Mistake, MISTAKES, tableIn, tableOf } from "../support/mistakes.ts";
import { read } from "../support/documents.ts";

/** Makes each mistake once. */
const answers = new Map<Mistake, Promise<Answer>>();

function answerTo(mistake: Mistake): Promise<Answer> {
  const answer = answers.get(mistake) ?? make(mistake);
  answers.set(mistake, answer);
  return answer;
}

/** The URL without its port needs a machine without a server on port 80. */
const isWebServer = await listeningAddress(80) !== undefined;

for (const mistake of MISTAKES) {
  const ignore = isWebServer && mistake.words.includes("ws://127.0.0.1/");
  Deno.test(
    `wsproof names the thing, the value and the next step, when somebody gives ${mistake.did}`,
    { ignore },
    async () => {
      const { code, lines } = await answerTo(mistake);
      assertEquals(code, mistake.exit, lines.join("\n"));
      for (const name of mistake.names) assertStringIncludes(lines.join("\n"), name);
    },
  );
}

Deno.test(
  "docs/troubleshooting.md shows what each of the common mistakes prints",
  { ignore: isWebServer },
  async () => {
    const made = await Promise.all(MISTAKES.map(async (mistake) => [mistake, await answerTo(mistake)] as const));
    assertEquals(tableIn(await read("docs/troubleshooting.md")), tableOf(made), "run deno task outputs --write");
  },
);
