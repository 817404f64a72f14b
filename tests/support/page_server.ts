/** The page of the echo server with peers, for tests. */

import { assertEquals } from "@std/assert";
import { createEcho } from "../../lib/server/builtin_echo.ts";
import { createPage, type PageOptions } from "../../lib/server/page.ts";
import { Browser, hasChromium, type Look, Tab, within } from "./browser.ts";
import { standIns } from "./command.ts";

const ROOT = new URL("../../", import.meta.url);

/** Peers of the page that do not echo, by path. */
const PEERS: Record<string, (socket: WebSocket) => void> = {
  "/bye": (socket) => socket.onopen = () => socket.close(4321, 'see "you"'),
  "/illegal": (socket) => socket.onopen = () => socket.close(1006),
  "/empty": (socket) => socket.onmessage = () => socket.close(),
  "/wrong": (socket) =>
    socket.onmessage = ({ data }) =>
      socket.send(typeof data === "string" ? `${data}!` : new Uint8Array(data).reverse()),
  "/greeting": (socket) => socket.onopen = () => socket.send("<b>welcome</b>\u001b[31m\u202e"),
};

/** The page and the echo server on one port, as in `deno task server`. */
export function serve(options: PageOptions) {
  const page = createPage(options);
  const echo = createEcho();
  const never = Promise.withResolvers<Response>();
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, (request, info) => {
    const { pathname } = new URL(request.url);
    if (request.headers.get("upgrade") !== "websocket") return page();
    if (pathname === "/refused") return new Response("no", { status: 403 });
    if (pathname === "/never") return never.promise;
    const peer = PEERS[pathname];
    if (!peer) return echo.fetch(request, info);
    const { socket, response } = Deno.upgradeWebSocket(request);
    peer(socket);
    return response;
  });
  return {
    host: `127.0.0.1:${server.addr.port}`,
    async stop() {
      never.resolve(new Response("late", { status: 503 }));
      await within(Promise.all(echo.closeAll(1001, "").map(({ closed }) => closed)), "end of the connections");
      await within(server.shutdown(), "shutdown");
    },
  };
}

/** Runs a command in a POSIX shell: with a function `deno` that runs the client at once, or with the real task. */
export async function shell(
  command: string,
  { env = {}, task = false }: { env?: Record<string, string>; task?: boolean } = {},
) {
  const deno = Deno.execPath();
  const client = ["run", "--no-prompt", ...standIns, "--allow-net", "--allow-read", "main.ts"].join(" ");
  const first = task ? `PATH='${deno.replace(/\/[^/]*$/, "")}':$PATH` : `deno() { shift 3; '${deno}' ${client} "$@"; }`;
  const options = { args: ["-c", `${first}\n${command} --json`], cwd: ROOT, env: { NO_COLOR: "1", ...env } };
  const { code, stdout, stderr } = await within(new Deno.Command("sh", options).output(), command);
  const text = new TextDecoder().decode(stdout);
  assertEquals(code, 0, `${command}: ${text}${new TextDecoder().decode(stderr)}`);
  return JSON.parse(text);
}

/** One case of the page. */
export interface Case extends Look {
  readonly options?: PageOptions;
  /** Expected log lines of Chromium itself, as for a failed connection. */
  readonly logs?: RegExp;
  /** Whether the case requests addresses of other servers. */
  readonly strays?: boolean;
  /** The query of the address; none by default. */
  readonly query?: string;
  readonly run: (tab: Tab, host: string) => Promise<void>;
}

/** Registers a test with a step for each case, in one Chromium. */
export function testPage(name: string, cases: Record<string, Case>): void {
  Deno.test({
    name,
    ignore: !hasChromium,
    fn: async (t) => {
      await using browser = await Browser.launch();
      for (
        const [step, { options = {}, logs = /^$/, strays = false, query = "", run, ...look }] of Object.entries(cases)
      ) {
        await t.step(step, async () => {
          const server = serve(options);
          const tab = await Tab.open(browser, `http://${server.host}/${query}`, look);
          try {
            await run(tab, server.host);
            assertEquals(tab.errors.filter((error) => !logs.test(error)), []);
            const isOurs = (url: string) =>
              URL.parse(url)?.host === server.host || url.startsWith("data:image/svg+xml,");
            if (!strays) assertEquals(tab.requests.filter((url) => !isOurs(url)), []);
          } finally {
            await tab.close();
            await server.stop();
          }
        });
      }
    },
  });
}
