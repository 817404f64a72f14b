/** The page in Chromium: its look in both schemes, on a desktop and on a phone, and an automated checker's findings. */

import { assert, assertEquals } from "@std/assert";
import axe from "npm:axe-core@4.14.1";
import type { Answer, Tab } from "../support/browser.ts";
import { type Case, testPage } from "../support/page_server.ts";

/** In the page: the text with the least contrast to its background, and the border of a field. */
const CONTRASTS = `(() => {
  const luminance = (color) => {
    const [r, g, b] = color.match(/[\\d.]+/g).slice(0, 3).map((value) => value / 255)
      .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const contrast = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const behind = (node) => {
    const { backgroundColor } = getComputedStyle(node);
    return /, 0\\)$/.test(backgroundColor) ? behind(node.parentElement) : backgroundColor;
  };
  const texts = [...document.body.querySelectorAll("*")]
    .filter((node) => node.checkVisibility() && (node.matches("input, textarea") ||
      [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim() !== "")))
    .map((node) => [contrast(getComputedStyle(node).color, behind(node)), node.outerHTML.slice(0, 80)]);
  const edges = [...document.querySelectorAll("input:not([type=radio], [type=checkbox]), textarea")].filter((node) => node.checkVisibility())
    .map((node) => [contrast(getComputedStyle(node).borderTopColor, behind(node.parentElement)), node.id]);
  return { texts, edges };
})()`;

/** In the page: touch targets below 44 pixels; the label of a choice is part of its target. */
const SMALL_TARGETS = `[...document.querySelectorAll("button, input, textarea, a, summary")]
  .map((node) => node.closest("label") ?? node)
  .filter((node) => node.checkVisibility() && node.getBoundingClientRect().height < 44)
  .map((node) => node.outerHTML.slice(0, 80))`;

/** In the page: fields with text below 16 pixels, into which a phone zooms. */
const SMALL_FIELDS = `[...document.querySelectorAll("input:not([type=radio], [type=checkbox]), textarea")]
  .filter((node) => parseFloat(getComputedStyle(node).fontSize) < 16).map((node) => node.id)`;

/** The findings of axe-core against WCAG 2.2 AA and its own best practices. */
async function violations(tab: Tab): Promise<string[]> {
  await tab.evaluate(`${axe.source}; true`);
  const { violations } = await tab.evaluate("axe.run(document)");
  return violations.flatMap(({ id, nodes }: Answer) => nodes.map((node: Answer) => `${id}: ${node.html}`));
}

const cases: Record<string, Case> = {};
for (const scheme of ["light", "dark"] as const) {
  for (const width of [1280, 390, 320]) {
    cases[`it can be read and used in ${scheme} colours at a width of ${width} pixels (screenshots)`] = {
      scheme,
      width,
      options: { needsToken: true, protocols: ["chat", "superchat"], version: "1.2.3" },
      logs: /refused.*403/,
      async run(tab) {
        const look = async (name: string) => {
          await tab.screenshot(`page-${scheme}-${width}-${name}`);
          const { texts, edges } = await tab.evaluate(CONTRASTS);
          assert(texts.length > 30 && edges.length > 4);
          assertEquals(texts.filter(([contrast]: [number]) => contrast < 4.5), []);
          assertEquals(edges.filter(([contrast]: [number]) => contrast < 3), []);
          const wide = await tab.evaluate("document.documentElement.scrollWidth");
          assert(wide <= width, `${wide} pixels are needed`);
          assertEquals(await tab.evaluate(SMALL_TARGETS), []);
          assertEquals(await tab.evaluate(SMALL_FIELDS), []);
          assertEquals(await violations(tab), []);
        };
        await look("start");
        await tab.connect();
        await tab.fill("Message", '{"type":"greeting","words":["hello","world"]}');
        await tab.fill("Times", "24");
        await tab.click("button", "Send");
        await tab.until("document.querySelectorAll('#log .judged').length === 24");
        await tab.evaluate("document.querySelector('#log details').open = true");
        await tab.fill("Times", "1");
        await tab.click("radio", "Binary, hex digits");
        await tab.fill("Message", `${"c0 ff ee 00 ".repeat(12)}`);
        await tab.press("Enter");
        await tab.until("document.querySelectorAll('#log .judged').length === 25");
        await look("open");
        await tab.fill("Code", "4000");
        await tab.fill("Reason", `"that's all"`);
        await tab.click("button", "Close");
        await tab.untilText("#state", "confirmed by the server");
        await look("closed");
        // The peer selects no subprotocol.
        await tab.click("checkbox", "chat");
        await tab.fill("Path and query", "/wrong");
        await tab.connect();
        await tab.click("button", "Send");
        await tab.untilText("#log", "not what was sent");
        await look("wrong");
        await tab.click("button", "Close");
        await tab.untilText("#state", "confirmed by the server");
        await tab.fill("Path and query", "/refused");
        await tab.click("button", "Connect");
        await tab.untilText("#state", "No connection");
        await tab.fill("Message", "not hex");
        await tab.click("button", "Send");
        await tab.untilText("#send-problem", "connect first");
        await look("failed");
      },
    };
  }
}

cases["the command is above the fold of a desktop"] = {
  async run(tab) {
    const { bottom } = await tab.evaluate("document.querySelector('#command').getBoundingClientRect().toJSON()");
    assert(bottom < 720, `${bottom}`);
  },
};

testPage("the look of the page in Chromium", cases);
