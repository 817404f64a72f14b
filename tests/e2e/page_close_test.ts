/** The page in Chromium: addresses, the close and its explanation, and failed connections. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { testPage } from "../support/page_server.ts";

testPage("the connections of the page in Chromium", {
  "it connects to this server only, whatever the path says": {
    async run(tab, host) {
      for (
        const [path, asked] of [["//elsewhere.example/a?b=c#d", "//elsewhere.example/a?b=c%23d"], ["a b", "/a%20b"]]
      ) {
        await tab.fill("Path and query", path ?? "");
        await tab.connect();
        assertEquals(tab.requests.at(-1), `ws://${host}${asked}`);
        await tab.click("button", "Close");
        await tab.untilText("#state", "Closed");
      }
    },
  },
  "it closes with a code and a reason, and explains what came back": {
    async run(tab) {
      await tab.connect();
      await tab.fill("Code", "3008");
      await tab.fill("Reason", "é".repeat(61));
      assertStringIncludes(await tab.text("#code-hint"), "3008 (timeout): The other side took too long.");
      await tab.click("button", "Close");
      await tab.untilText("#state", "confirmed by the server");
      const end = await tab.text("#end-facts");
      for (
        const fact of ["3008 (timeout)", "The other side took too long.", "IANA", `"${"é".repeat(61)}"`, "This page"]
      ) {
        assertStringIncludes(end, fact);
      }
      await tab.connect();
      await tab.fill("Code", "4000");
      await tab.fill("Reason", "");
      await tab.click("button", "Close");
      await tab.untilText("#end-facts", "For applications");
    },
  },
  "it says who began, and quotes the reason, when the server closes": {
    async run(tab) {
      await tab.fill("Path and query", "/bye");
      await tab.click("button", "Connect");
      await tab.untilText("#state", String.raw`4321 (private use), reason "see \"you\"": from the server.`);
      assertMatch(await tab.text("#end-facts"), /Who began\s+The server\s/);
    },
  },
  "it says that the connection was lost when there was no valid close frame": {
    logs: /illegal.*failed/,
    async run(tab) {
      await tab.fill("Path and query", "/illegal");
      await tab.click("button", "Connect");
      await tab.untilText("#state", "1006 (abnormal closure): without a close frame.");
      assertMatch(await tab.text("#end-facts"), /Who began\s+Nobody.*\s+Clean\s+no,/);
    },
  },
  "it explains an empty close frame, and what was not echoed": {
    async run(tab) {
      await tab.fill("Path and query", "/empty");
      await tab.connect();
      await tab.click("button", "Send");
      await tab.untilText("#state", "1005 (no status received): from the server.");
      assertMatch(await tab.text("#end-facts"), /Not echoed\s+1 of the messages sent/);
      assertEquals((await tab.rows())[1], "→sent text, 11 bytes no echo came Hello world");
    },
  },
  "it says what a page can know of a refusal, and can connect again": {
    logs: /refused.*403/,
    async run(tab) {
      await tab.fill("Path and query", "/refused");
      await tab.click("button", "Connect");
      await tab.untilText("#state", "No connection");
      await tab.untilText("#state", "neither the cause nor the HTTP status");
      assertEquals(await tab.text("#state-list"), "Is the server still running?");
      assertEquals(await tab.rows(), ["no connection"]);
      assertEquals(await tab.evaluate("document.querySelectorAll('#log .bad.failed').length"), 1);
      await tab.fill("Path and query", "/");
      await tab.connect();
    },
  },
  "it gives up on a server that does not answer": {
    logs: /never.*closed before/,
    before: "const later = setTimeout; window.setTimeout = (act, ms) => later(act, ms / 100);",
    async run(tab) {
      await tab.fill("Path and query", "/never");
      await tab.click("button", "Connect");
      await tab.untilText("#state", "There was no answer within 10 s.");
    },
  },
  "it cancels a connection that is not open yet": {
    logs: /never.*closed before/,
    async run(tab) {
      await tab.fill("Path and query", "/never");
      await tab.click("button", "Connect");
      await tab.untilText("#state", "Connecting");
      await tab.click("button", "Close");
      await tab.untilText("#state", "Cancelled before the connection was open.");
    },
  },
  "it keeps the query of its own address": {
    query: "?x=1",
    async run(tab, host) {
      await tab.connect();
      assertEquals(tab.requests.at(-1), `ws://${host}/?x=1`);
    },
  },
});
