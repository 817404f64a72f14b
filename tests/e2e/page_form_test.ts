/** The page in Chromium: invalid fields, subprotocols, the token, the keyboard and the policy. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Answer, within } from "../support/browser.ts";
import { shell, testPage } from "../support/page_server.ts";

testPage("the form of the page in Chromium", {
  "it refuses unusable fields, marks and focuses them, and says what to enter": {
    options: { maxMessageBytes: 12 },
    async run(tab) {
      await tab.click("button", "Send");
      await tab.untilText("#send-problem", "There is no connection: connect first.");
      await tab.fill("Subprotocols to offer", "a b,c, a");
      await tab.click("button", "Connect");
      await tab.untilText("#connect-problem", '"a" appears twice.');
      await tab.fill("Subprotocols to offer", "a/b");
      await tab.click("button", "Connect");
      await tab.untilText("#connect-problem", '"a/b" cannot be a subprotocol');
      assertEquals(await tab.focused(), "textbox Subprotocols to offer");
      assertEquals(await tab.evaluate("document.activeElement.ariaInvalid"), "true");
      await tab.fill("Subprotocols to offer", "");
      await tab.connect();
      assertEquals(await tab.text("#connect-problem"), "");
      await tab.click("button", "Connect");
      await tab.untilText("#connect-problem", "There is a connection already");

      const refusals = [
        ["Text", "Hello worlds!", "The message has 13 bytes: this server accepts at most 12."],
        ["Binary, UTF-8", "€€€€€", "The message has 15 bytes: this server accepts at most 12."],
        ["Binary, hex digits", "0g", '"g" is not a hexadecimal digit'],
        ["Binary, hex digits", "012", "A digit is missing"],
      ] as const;
      for (const [kind, message, refusal] of refusals) {
        await tab.click("radio", kind);
        await tab.fill("Message", message);
        await tab.click("button", "Send");
        await tab.untilText("#send-problem", refusal);
        assertEquals(await tab.focused(), "textbox Message");
        assertEquals(await tab.text("#command"), "");
      }
      await tab.fill("Message", "00");
      // A corrected problem disappears.
      assertEquals(await tab.text("#send-problem"), "");
      assertEquals(await tab.evaluate("document.querySelectorAll('#send-form [aria-invalid]').length"), 0);
      for (const count of ["0", "1001", "x"]) {
        await tab.fill("Times", count);
        await tab.click("button", "Send");
        await tab.untilText("#send-problem", "Times must be a whole number from 1 to 1000.");
      }
      for (const code of ["1001", "2999", "5000", "99999", "-1", ""]) {
        await tab.fill("Code", code);
        await tab.click("button", "Close");
        await tab.untilText("#close-problem", "1000 or 3000 to 4999");
        assertEquals(await tab.focused(), "textbox Code");
      }
      await tab.fill("Code", "1000");
      await tab.fill("Reason", "é".repeat(62));
      await tab.click("button", "Close");
      await tab.untilText("#close-problem", "The reason has 124 bytes of UTF-8: at most 123 fit into a close frame.");
      assertEquals(await tab.rows(), ["connected"]);
      assertStringIncludes(await tab.text("#state"), "Connected");
    },
  },
  "it offers the subprotocols of the server, and shows the one that was selected": {
    options: { protocols: ["chat", "superchat"] },
    async run(tab) {
      await tab.connect();
      assertStringIncludes(await tab.text("#state"), 'Subprotocol: "chat".');
      await tab.click("button", "Close");
      await tab.untilText("#state", "Closed");
      await tab.click("checkbox", "superchat");
      await tab.connect();
      assertEquals(tab.offers, ["chat", "chat, superchat"]);
      assertStringIncludes(await tab.text("#command"), " -p chat -p superchat ws://");
    },
  },
  "it offers the token after another subprotocol, and shows it nowhere": {
    options: { needsToken: true },
    async run(tab, host) {
      const token = "sécret?>~ÿ";
      const bearer = `wsproof.bearer.${
        new TextEncoder().encode(token).toBase64({ alphabet: "base64url", omitPadding: true })
      }`;
      await tab.fill("Token", token);
      await tab.connect();
      await tab.click("button", "Close");
      await tab.untilText("#state", "Closed");
      await tab.fill("Subprotocols to offer", "chat, v2");
      await tab.connect();
      assertEquals(tab.offers, [`wsproof, ${bearer}`, `chat, v2, ${bearer}`]);
      const shown = await tab.evaluate("document.documentElement.outerHTML + location.href");
      assert(!shown.includes(token) && !shown.includes(bearer));
      const command = await tab.text("#command");
      assertEquals(
        command,
        `deno task -q client -m 'Hello world' -p chat -p v2 -H "Authorization: Bearer $WSPROOF_TOKEN" ws://${host}/`,
      );
      assertEquals((await shell(command, { env: { WSPROOF_TOKEN: "abc" } })).protocol, "chat");
    },
  },
  "it requires a subprotocol beside the token, as the browser would drop the connection": {
    options: { needsToken: true, protocols: ["chat"] },
    async run(tab) {
      await tab.fill("Token", "abc");
      await tab.click("checkbox", "chat");
      await tab.click("button", "Connect");
      await tab.untilText("#connect-problem", "Choose a subprotocol");
      await tab.click("checkbox", "chat");
      await tab.connect();
      assertEquals(tab.offers, ["chat, wsproof.bearer.YWJj"]);
    },
  },
  "the keyboard alone reaches all of it, and the focus can be seen": {
    async run(tab) {
      const stops: string[] = [];
      for (let presses = 0; presses < 15; presses++) {
        await tab.press("Tab");
        stops.push(await tab.focused());
        assertEquals(
          await tab.evaluate("getComputedStyle(document.activeElement).outlineStyle"),
          "solid",
          stops.at(-1),
        );
      }
      assertEquals(stops, [
        "textbox Path and query",
        "textbox Subprotocols to offer",
        "button Connect",
        "radio Text",
        "textbox Message",
        "button Send",
        "textbox Times",
        "textbox Code",
        "textbox Reason",
        "button Close",
        "button Copy",
        "button Clear",
        "link Documentation",
        "link Metrics",
        "link Health",
      ]);
      for (const _ of stops.slice(1)) await tab.press("Tab", { shift: true });
      assertEquals(await tab.focused(), "textbox Path and query");
      await tab.press("Enter");
      await tab.untilText("#state", "Connected");
      assertEquals(await tab.focused(), "textbox Message");
      await tab.press("Enter", { shift: true });
      await tab.type("two");
      await tab.press("Enter");
      await tab.untilText("#log", "the same as sent");
      assertStringIncludes((await tab.rows())[1] ?? "", String.raw`\ntwo`);
      await tab.press("Tab", { shift: true });
      await tab.press("ArrowDown");
      assertEquals(await tab.focused(), "radio Binary, UTF-8");
      for (const _ of ["Message", "Send", "Times", "Code", "Reason", "Close"]) await tab.press("Tab");
      await tab.press("Space");
      await tab.untilText("#state", "confirmed by the server");
      assertEquals(await tab.focused(), "button Close");
    },
  },
  "every field, button and part has a name, and what changes is announced": {
    options: { needsToken: true, protocols: ["chat"] },
    async run(tab) {
      await tab.connect();
      const { nodes } = await tab.call("Accessibility.getFullAXTree");
      const named = nodes.filter((node: Answer) => !node.ignored)
        .map((node: Answer) => `${node.role.value} ${node.name?.value ?? ""}`.trim());
      for (
        const part of [
          ...["banner", "main", "heading WebSocket echo server", "region Connection", "region Message", "region Close"],
          ...[
            "region Round trips",
            "region Messages",
            "region The same on the command line",
            "contentinfo",
            "region Log of the messages",
          ],
          ...["group Subprotocols to offer", "group Send as", "textbox Token", "checkbox chat", "list", "status"],
        ]
      ) assert(named.includes(part), `There is no ${part} in ${named.join("; ")}`);
      const nameless = /^(textbox|button|radio|checkbox|region|group|image|heading|link)$/;
      assertEquals(named.filter((part: string) => nameless.test(part)), []);
      assertEquals(await tab.evaluate("document.documentElement.lang"), "en");
      assertEquals(
        await tab.evaluate("[...document.querySelectorAll('[role=alert], [role=status]')].map(({ id }) => id)"),
        [
          ...["connect-problem", "state", "send-problem", "close-problem", "copied", "announcer"],
        ],
      );
    },
  },
  "the policy stops what is not the page's own": {
    strays: true,
    logs: /Content Security Policy|TrustedHTML|TrustedScript|ERR_BLOCKED/,
    async run(tab, host) {
      const attempts = [
        "document.body.setAttribute('style', 'color: red')",
        "document.body.append(Object.assign(document.createElement('img'), { src: 'http://127.0.0.1:9/' }))",
        "fetch('http://127.0.0.1:9/').catch(() => {})",
        "try { document.body.innerHTML = '<b>x</b>' } catch { true }",
      ];
      for (const attempt of attempts) {
        const logged = tab.nextError();
        await tab.evaluate(`void (() => { ${attempt} })()`);
        await within(logged, `violation by ${attempt}`);
      }
      assertEquals(tab.requests.filter((url) => !url.includes(host) && !url.includes("127.0.0.1:9")), []);
    },
  },
});
