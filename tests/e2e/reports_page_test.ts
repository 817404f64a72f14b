/** The lab's reports on clients, in Chromium: on a desktop and on a phone, in both schemes. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import axe from "npm:axe-core@4.14.1";
import { MIRROR_CASES } from "../../lib/lab/mirror_cases.ts";
import { type Answer, Browser, hasChromium, Tab } from "../support/browser.ts";
import { httpUrl, startLab } from "../support/lab.ts";
import { visitCase } from "../support/mutant_client.ts";

async function assertGood(tab: Tab, name: string, width: number): Promise<void> {
  await tab.screenshot(name);
  const wide = await tab.evaluate("document.documentElement.scrollWidth");
  assert(wide <= width, `${wide} pixels are needed`);
  await tab.evaluate(`${axe.source}; true`);
  const { violations } = await tab.evaluate("axe.run(document)");
  assertEquals(violations.flatMap(({ id, nodes }: Answer) => nodes.map((node: Answer) => `${id}: ${node.html}`)), []);
  assertEquals(tab.errors, []);
}

Deno.test({
  name: "the reports of the lab fit a desktop and a phone in both schemes (screenshots)",
  ignore: !hasChromium,
  fn: async () => {
    await using empty = await startLab();
    await using lab = await startLab();
    for (const { number, test } of MIRROR_CASES.filter(({ test }) => test.group === "framing").slice(0, 40)) {
      await visitCase(lab.url, number, test.id.includes("rsv") ? { ignores: ["rsv"] } : {});
    }
    await using browser = await Browser.launch();
    for (const scheme of ["light", "dark"] as const) {
      for (const width of [1280, 390]) {
        const look = { scheme, width };
        const pages = [
          ["none", httpUrl(empty.url, "/reports/"), "No agent has run a case"],
          ["all", httpUrl(lab.url, "/reports/"), "not-conformant"],
          ["agent", httpUrl(lab.url, "/reports/?agent=mutant"), "Client did not fail the connection"],
        ] as const;
        for (const [name, url, words] of pages) {
          const tab = await Tab.open(browser, url.href, look);
          await assertGood(tab, `reports-${scheme}-${width}-${name}`, width);
          assertStringIncludes(await tab.text("main"), words);
          await tab.close();
        }
      }
    }
  },
});
