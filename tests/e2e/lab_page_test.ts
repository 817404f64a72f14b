/** The lab's page at `GET /`, in Chromium: its links build a path, and it shows the scoreboard. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import axe from "npm:axe-core@4.14.1";
import { MIRROR_CASES } from "../../lib/lab/mirror_cases.ts";
import { LAB_STEPS } from "../../lib/lab/program.ts";
import { usageOf } from "../../lib/lab/step.ts";
import { type Answer, Browser, hasChromium, Tab } from "../support/browser.ts";
import { client } from "../support/command.ts";
import { httpUrl, startLab } from "../support/lab.ts";
import { visitCase } from "../support/mutant_client.ts";

const BROWSER = { headers: { accept: "text/html,application/xhtml+xml,*/*;q=0.8" } };

Deno.test("GET / of the lab is a page for a browser, text for curl, and JSON on request", async () => {
  await using lab = await startLab();
  for (
    const [accept, type, start] of [
      [BROWSER.headers.accept, "text/html; charset=utf-8", "<!DOCTYPE html>"],
      ["*/*", "text/plain; charset=utf-8", "wsproof's lab:"],
      ["application/json", "application/json", '{"steps":['],
    ] as const
  ) {
    const response = await fetch(httpUrl(lab.url), { headers: { accept } });
    assertEquals([response.status, response.headers.get("content-type")], [200, type]);
    assert((await response.text()).startsWith(start), accept);
  }
});

Deno.test("the page of the lab explains every step, and shows what is wrong with a path as text", async () => {
  await using lab = await startLab();
  const page = await (await fetch(httpUrl(lab.url), BROWSER)).text();
  for (const step of Object.values(LAB_STEPS).flat()) assertStringIncludes(page, `<code>${usageOf(step)}</code>`);
  const wrong = await (await fetch(httpUrl(lab.url, "/?path=/<script>alert(1)"), BROWSER)).text();
  assertStringIncludes(wrong, "&#60;script&#62;");
  assertEquals(wrong.includes("<script>alert"), false);
});

Deno.test("a browser that opens a path of the lab gets the page, with the command for it", async () => {
  await using lab = await startLab();
  const response = await fetch(httpUrl(lab.url, "/greet/hello"), BROWSER);
  assertEquals(response.status, 426);
  const page = await response.text();
  assertStringIncludes(page, "This path is for a WebSocket");
  assertStringIncludes(page, `deno task -q client --transport wire ${lab.url}greet/hello<`);
  const unknown = await fetch(httpUrl(lab.url, "/grete"), BROWSER);
  assertEquals(unknown.status, 404);
  assertStringIncludes(await unknown.text(), "is not a step");
});

async function assertGood(tab: Tab, name: string, width: number): Promise<void> {
  await tab.screenshot(name);
  const wide = await tab.evaluate("document.documentElement.scrollWidth");
  assert(wide <= width, `${wide} pixels are needed`);
  const low = `[...document.querySelectorAll("a, button, input")].filter((node) =>
    node.getBoundingClientRect().height < 24).map((node) => node.outerHTML)`;
  assertEquals(await tab.evaluate(low), []);
  await tab.evaluate(`${axe.source}; true`);
  const { violations } = await tab.evaluate("axe.run(document)");
  assertEquals(violations.flatMap(({ id, nodes }: Answer) => nodes.map((node: Answer) => `${id}: ${node.html}`)), []);
  assertEquals(tab.errors, []);
}

Deno.test({
  name: "the page of the lab builds a path by links, with its command, on a desktop and on a phone (screenshots)",
  ignore: !hasChromium,
  fn: async () => {
    await using lab = await startLab();
    await visitCase(lab.url, MIRROR_CASES[0]?.number ?? "", {});
    await using browser = await Browser.launch();
    for (const scheme of ["light", "dark"] as const) {
      for (const width of [1280, 390]) {
        const tab = await Tab.open(browser, httpUrl(lab.url).href, { scheme, width });
        await tab.until("document.querySelector('h1')?.textContent.startsWith('The lab')");
        await assertGood(tab, `lab-${scheme}-${width}-start`, width);
        assertStringIncludes(await tab.text("main"), "mutant");
        await tab.evaluate(
          "[...document.querySelectorAll('a')].find(({ text }) => text === '/echo/1/close/1001/bye').click()",
        )
          .catch(() => {});
        await tab.until("document.querySelector('pre')?.textContent.includes('/close/1001/bye')");
        await tab.evaluate("[...document.querySelectorAll('a')].find(({ text }) => text === '/refuse/403').click()");
        await tab.until("document.querySelector('pre')?.textContent.includes('/refuse/403')");
        const [url = "", command = ""] = await tab.evaluate(
          "[...document.querySelectorAll('pre')].map((node) => node.textContent)",
        );
        assertMatch(url, /^ws:\/\/127\.0\.0\.1:\d+\/refuse\/403/);
        assertEquals(command, `deno task -q client --transport wire ${url}`);
        const words = command.split(" ").slice(4);
        assertEquals((await client(words)).code, 4);
        await assertGood(tab, `lab-${scheme}-${width}-path`, width);
        await tab.close();
      }
    }
  },
});
