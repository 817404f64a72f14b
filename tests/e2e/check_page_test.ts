/** The page of `check --html` in Chromium: on a desktop and on a phone, in both schemes; and its filter. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import axe from "npm:axe-core@4.14.1";
import { CASES } from "../../lib/check/cases/mod.ts";
import { formatHtml } from "../../lib/check/html.ts";
import { conclude } from "../../lib/check/report.ts";
import { runCases } from "../../lib/check/runner.ts";
import { type Answer, Browser, hasChromium, Tab } from "../support/browser.ts";
import { serveMutant } from "../support/mutant_server.ts";

/** A server whose failures contain hostile text. */
async function makePage(): Promise<string> {
  const nasty = new TextEncoder().encode('</script><img src=x onerror="alert(1)">\u202e');
  await using server = serveMutant({
    ignores: ["restart", "minimal"],
    frame: (frame) => [frame.payload.byteLength === 13 ? { ...frame, payload: nasty } : frame],
  });
  const cases = CASES.filter(({ group }) => group === "framing" || group === "fragments");
  const target = { url: new URL(server.url), caseTimeoutMs: 30_000, echoes: true };
  const results = await runCases(cases, target, { jobs: 8 });
  const run = { url: server.url, profile: "standard", strict: false, startedAt: "2026-11-28T12:00:00.000Z" } as const;
  const report = conclude({ ...run, ms: 1234, results, allIds: cases.map(({ id }) => id) });
  return formatHtml(report, `wsproof check --trace ${server.url}`);
}

Deno.test({
  name: "the page of check fits a desktop and a phone in both schemes, loads nothing, and filters (screenshots)",
  ignore: !hasChromium,
  fn: async () => {
    const file = await Deno.makeTempFile({ suffix: ".html" });
    await Deno.writeTextFile(file, await makePage());
    try {
      await using browser = await Browser.launch();
      for (const scheme of ["light", "dark"] as const) {
        for (const width of [1280, 390]) {
          const tab = await Tab.open(browser, `file://${file}`, { scheme, width });
          await tab.screenshot(`check-${scheme}-${width}`);
          const wide = await tab.evaluate("document.documentElement.scrollWidth");
          assert(wide <= width, `${wide} pixels are needed`);
          await tab.evaluate(`${axe.source}; true`);
          const { violations } = await tab.evaluate("axe.run(document)");
          const found = violations.flatMap(({ id, nodes }: Answer) =>
            nodes.map((node: Answer) => `${id}: ${node.html}`)
          );
          assertEquals(found, []);
          const [first] = await tab.evaluate("[...document.querySelectorAll('tbody tr')].map((row) => row.className)");
          assertEquals(first, "fail");
          await tab.evaluate(`(words.value = "restart third", words.dispatchEvent(new Event("input")))`);
          assertStringIncludes(await tab.text("#shown"), "1 of ");
          assertStringIncludes(await tab.text("tbody tr:not([hidden])"), "< end of TCP");
          await tab.evaluate(`document.querySelector("[value=fail]").click()`);
          assertStringIncludes(await tab.text("#shown"), "0 of ");
          assertEquals([tab.errors, tab.requests.filter((url) => !url.startsWith("file:"))], [[], []]);
          await tab.close();
        }
      }
    } finally {
      await Deno.remove(file);
    }
  },
});
