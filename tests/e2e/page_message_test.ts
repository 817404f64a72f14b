/** The page in Chromium: messages, round trips and their display. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Browser, hasChromium, Tab } from "../support/browser.ts";
import { serverProcess } from "../support/command.ts";
import { testPage } from "../support/page_server.ts";

for (const [more, words] of [[[], "Messages are compressed."], [["--no-deflate"], "No compression."]] as const) {
  Deno.test({
    name: `page in Chromium says "${words}" at the server with ${["--transport wire", ...more].join(" ")}`,
    ignore: !hasChromium,
    fn: async () => {
      await using server = await serverProcess("--transport", "wire", ...more);
      await using browser = await Browser.launch();
      const tab = await Tab.open(browser, server.url.replace("ws:", "http:"));
      await tab.connect();
      assertStringIncludes(await tab.text("#state"), words);
      await tab.click("button", "Send");
      await tab.untilText("#log", "the same as sent");
    },
  });
}

testPage("the messages of the page in Chromium", {
  "it connects, echoes text and binary, and shows size, round trip and verdict": {
    async run(tab, host) {
      await tab.connect();
      await tab.click("button", "Send");
      await tab.untilText("#log", "the same as sent");
      await tab.fill("Message", "é€😀\n\t");
      await tab.click("radio", "Binary, UTF-8");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('#log .judged').length === 2");
      await tab.fill("Message", "00 FF\n7f");
      await tab.click("radio", "Binary, hex digits");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('#log .judged').length === 3");
      await tab.fill("Message", "");
      await tab.click("radio", "Text");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('#log .judged').length === 4");
      assertEquals(await tab.rows(), [
        "connected",
        "→sent text, 11 bytes ←received N ms the same as sent Hello world",
        "→sent binary, 11 bytes ←received N ms the same as sent c3 a9 e2 82 ac f0 9f 98 80 0a 09",
        "→sent binary, 3 bytes ←received N ms the same as sent 00 ff 7f",
        "→sent text, 0 bytes ←received N ms the same as sent",
      ]);
      assertEquals(await tab.evaluate("document.querySelectorAll('#log .good').length"), 4);
      assertEquals(tab.requests, [`http://${host}/`, `ws://${host}/`]);
    },
  },
  "it plots a point for each round trip, with the numbers as text": {
    async run(tab) {
      await tab.connect();
      assertMatch(await tab.text("#plot-empty"), /^None yet\. Each will be a bar/);
      await tab.evaluate(`window.announced = 0;
        new MutationObserver(() => window.announced++).observe(document.getElementById("announcer"), { childList: true })`);
      await tab.fill("Times", "70");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('#log .judged').length === 70");
      assertEquals(await tab.evaluate("document.querySelectorAll('#plot .bar').length"), 60);
      const summary = await tab.text("#plot-summary");
      assertEquals(
        summary.replaceAll(/\d+(\.\d+)? ms/g, "N ms").replace(/ Red: \d+ beyond the plot\.$/, ""),
        "Last 60, in milliseconds, the newest on the right: min N ms, median N ms, p90 N ms, p99 N ms, max N ms. " +
          "Dashed: the median.",
      );
      await tab.find("image", summary);
      await tab.untilText("#announcer", "received text, 11 bytes, the same as sent, round trip");
      assert(await tab.evaluate("window.announced") < 70);
      await tab.fill("Times", "40");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('#log .judged').length === 110");
      await tab.click("button", "Close");
      await tab.untilText("#state", "Closed");
      assertEquals(await tab.evaluate("document.querySelectorAll('#log li').length"), 112);
      await tab.click("button", "Clear");
      assertEquals(await tab.evaluate("document.querySelectorAll('#log li, #plot .bar').length"), 0);
    },
  },
  "it says that the reply differs from the message": {
    async run(tab) {
      await tab.fill("Path and query", "/wrong");
      await tab.connect();
      await tab.click("button", "Send");
      await tab.untilText("#log", "not what was sent");
      await tab.click("radio", "Binary, hex digits");
      await tab.fill("Message", "01 02");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('#log .judged').length === 2");
      assertEquals(
        (await tab.rows()).at(-1),
        "→sent binary, 2 bytes ←received N ms not what was sent 01 02 ←received binary, 2 bytes 02 01",
      );
      assertEquals(await tab.evaluate("document.querySelectorAll('#log .bad').length"), 2);
    },
  },
  "it shows what a peer sends as text, with control characters as escapes": {
    async run(tab) {
      await tab.fill("Path and query", "/greeting");
      await tab.connect();
      await tab.untilText("#log", "it came unasked");
      assertEquals(
        (await tab.rows())[1],
        String.raw`←received text, 22 bytes it came unasked <b>welcome</b>\u001b[31m\u202e`,
      );
      assertEquals(
        await tab.evaluate("[...document.querySelectorAll('#log .escape')].map((node) => node.textContent)"),
        [String.raw`\u001b`, String.raw`\u202e`],
      );
    },
  },
  "it shows the last message under the button too, and nothing when the log is cleared": {
    async run(tab) {
      await tab.connect();
      await tab.click("button", "Send");
      await tab.untilText("#last", "the same as sent");
      assertEquals(await tab.evaluate("document.querySelectorAll('#last li').length"), 1);
      await tab.click("button", "Clear");
      assertEquals(await tab.evaluate("document.getElementById('last').hidden"), true);
      assertMatch(await tab.text("#log-empty"), /^None yet\./);
    },
  },
  "it shows text unchanged, and JSON in lines on demand": {
    async run(tab) {
      await tab.connect();
      await tab.fill("Message", '{"a":["x\u202e"],"b":"\\n"}');
      await tab.click("button", "Send");
      await tab.untilText("#log", "the same as sent");
      assertEquals(await tab.text("#log .data"), String.raw`{"a":["x\u202e"],"b":"\n"}`);
      await tab.evaluate("document.querySelector('#log details').open = true");
      assertEquals(
        await tab.evaluate("document.querySelector('#log pre').textContent"),
        '{\n  "a": [\n    "x\\u202e"\n  ],\n  "b": "\\n"\n}',
      );
      await tab.fill("Message", "{no JSON}");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('#log .judged').length === 2");
      assertEquals(await tab.evaluate("document.querySelectorAll('#log details').length"), 1);
    },
  },
  "one slow round trip does not flatten the others: its bar ends at the top, and is marked": {
    // The last reply of twenty seems 100 s late.
    before:
      "const now = performance.now.bind(performance); let calls = 0; performance.now = () => now() + (++calls > 39 ? 100_000 : 0);",
    async run(tab) {
      await tab.connect();
      await tab.fill("Times", "20");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('#log .judged').length === 20");
      assertMatch(
        await tab.text("#plot-summary"),
        /max 100\d{3} ms\. Dashed: the median\. Red: \d+ beyond the plot\.$/,
      );
      assertEquals(await tab.evaluate("document.querySelectorAll('#plot .bar').length"), 20);
      assertEquals(
        await tab.evaluate("document.querySelector('#plot .bar:nth-of-type(20)').classList.contains('over')"),
        true,
      );
      const [top, middle] = await Promise.all([tab.text("#axis-top"), tab.text("#axis-middle")]);
      assert(parseFloat(top) < 50_000 && parseFloat(middle) * 2 === parseFloat(top), `${top} ${middle}`);
    },
  },
});
