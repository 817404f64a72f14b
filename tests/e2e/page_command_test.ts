/** The page in Chromium: the equivalent command. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { shell, testPage } from "../support/page_server.ts";

async function sha256(message: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const bytes = typeof message === "string" ? new TextEncoder().encode(message) : message;
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

testPage("the command of the page in Chromium", {
  "its command does the same, whatever a shell makes of the characters": {
    async run(tab, host) {
      const run = async (kind: string, message: string, task = false) => {
        await tab.click("radio", kind);
        await tab.fill("Message", message);
        const report = await shell(await tab.text("#command"), { task });
        const [first] = report.messages;
        return [report.sent.messages, first.kind, first.sha256];
      };
      const plain = `deno task -q client -m 'Hello world' ws://${host}/`;
      assertEquals(await tab.text("#command"), plain);
      await shell(plain);
      await tab.fill("Path and query", "/it's?a=$HOME&b=`id`;c=\\");
      await tab.fill("Subprotocols to offer", "it's $x");
      const reason = `"it's" $HOME !\\`;
      await tab.fill("Code", "4000");
      await tab.fill("Reason", reason);
      await tab.fill("Times", "2");
      const text = `-it's "$HOME" \`id\` \\n !! %s\ntwo * ~ é€😀`;
      assertEquals(await run("Text", text), [2, "text", await sha256(text)]);
      assertEquals(await run("Text", text, true), [2, "text", await sha256(text)]);
      const report = await shell(await tab.text("#command"));
      assertEquals(report.protocol, "it's");
      assertEquals(report.close.received, { code: 4000, reason });
      assertEquals(report.url, `ws://${host}/it's?a=$HOME&b=\`id\`;c=\\`);

      assertEquals(await run("Text", `-n 'tab'\t%d\\n5`), [2, "text", await sha256(`-n 'tab'\t%d\\n5`)]);
      assertEquals(await run("Text", ""), [2, "text", await sha256("")]);
      assertEquals(await run("Binary, UTF-8", "é"), [2, "binary", await sha256("é")]);
      const bytes = Uint8Array.from({ length: 256 }, (_, index) => index);
      assertEquals(await run("Binary, hex digits", bytes.toHex()), [2, "binary", await sha256(bytes)]);
      assertEquals(await run("Binary, hex digits", "ff 00", true), [2, "binary", await sha256(Uint8Array.of(255, 0))]);
      await tab.click("radio", "Text");
      await tab.fill("Message", "x".repeat(4097));
      assertStringIncludes(await tab.text("#command"), "deno task -q client -f message.bin -n 2");
      assertStringIncludes(await tab.text("#command-hint"), "save it as message.bin first");
    },
  },
  "its command is copied, or selected where there is no clipboard": {
    async run(tab) {
      const command = await tab.text("#command");
      await tab.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }");
      await tab.click("button", "Copy");
      await tab.untilText("#copied", "Copied.");
      assertEquals(await tab.evaluate("window.copied"), command);
      await tab.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })");
      await tab.click("button", "Copy");
      await tab.untilText("#copied", "Selected: press Ctrl+C to copy it.");
      assertEquals(await tab.evaluate("String(getSelection())"), command);
    },
  },
});
