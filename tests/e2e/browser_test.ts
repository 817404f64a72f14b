/** Real Chromium as the client of our server, over both transports. */

import { assertEquals } from "@std/assert";
import { serveEcho } from "../../lib/server/serve.ts";

const CHROMIUM = "/usr/bin/chromium";

/** Debian's Chromium; the gate installs it. */
const hasChromium = await Deno.stat(CHROMIUM).then(() => true, () => false);

/** Deadline for Chromium to start and run the page, in milliseconds. */
const BROWSER_TIMEOUT_MS = 90_000;

/** The page: one exchange like any web page's, and a report on it. */
function page(url: string): string {
  return `<!doctype html><script>
    const seen = [];
    const large = new Uint8Array(1024 * 1024).map((_, index) => index * 7);
    const sent = ["Hello world", "", "é€😀", Uint8Array.of(0, 255), large];
    const socket = new WebSocket(${JSON.stringify(url)}, ["chat"]);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => { seen.push("open " + socket.protocol); sent.forEach((message) => socket.send(message)); };
    socket.onmessage = ({ data }) => {
      const expected = sent.shift();
      const same = typeof data === "string"
        ? data === expected
        : expected.length === data.byteLength && new Uint8Array(data).every((byte, index) => byte === expected[index]);
      seen.push(typeof data + " " + (data.length ?? data.byteLength) + " " + same);
      if (sent.length === 0) socket.close(4000, "bye");
    };
    socket.onclose = ({ code, reason, wasClean }) => {
      seen.push("close " + code + " " + reason + " " + wasClean);
      fetch("/report", { method: "POST", body: JSON.stringify(seen) });
    };
  </script>`;
}

for (const transport of ["builtin", "wire"] as const) {
  Deno.test({
    name: `Chromium has every message echoed and its close confirmed by the server over ${transport}`,
    ignore: !hasChromium,
    fn: async () => {
      const server = serveEcho({ port: 0, transport });
      const report = Promise.withResolvers<unknown>();
      const site = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async (request) => {
        if (request.method === "POST") report.resolve(await request.json());
        return new Response(page(server.url), { headers: { "content-type": "text/html; charset=utf-8" } });
      });
      const profile = await Deno.makeTempDir();
      const chromium = new Deno.Command(CHROMIUM, {
        args: [
          ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
          ...["--disable-background-networking", "--disable-component-update", `--user-data-dir=${profile}`],
          `http://127.0.0.1:${site.addr.port}/`,
        ],
        stdin: "null",
        stdout: "null",
        stderr: "null",
      }).spawn();
      const timer = setTimeout(() => report.reject(new Error("Chromium did not report in time")), BROWSER_TIMEOUT_MS);
      try {
        assertEquals(await report.promise, [
          "open chat",
          "string 11 true",
          "string 0 true",
          "string 4 true",
          "object 2 true",
          "object 1048576 true",
          "close 4000 bye true",
        ]);
      } finally {
        clearTimeout(timer);
        chromium.kill("SIGKILL");
        await chromium.status;
        await site.shutdown();
        await server.shutdown();
        // Chromium's child processes may still be writing for a moment.
        await Deno.remove(profile, { recursive: true }).catch(() => {});
      }
    },
  });
}
