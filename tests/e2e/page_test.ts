/**
 * The page for people, in real Chromium: it is driven by keyboard and mouse over the DevTools protocol, and its parts
 * are found by role and accessible name, as a screen reader finds them. Screenshots are kept in tests/artefacts/.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createEcho } from "../../lib/server/builtin_echo.ts";
import { createPage, type PageOptions } from "../../lib/server/page.ts";
import { CLOSE_CODES, describeCloseCode } from "../../lib/protocol/close.ts";
import { within as deadline } from "../../lib/net/deadline.ts";
import { standIns } from "../support/command.ts";

const CHROMIUM = "/usr/bin/chromium";

/** Debian's Chromium; the gate installs it. */
const hasChromium = await Deno.stat(CHROMIUM).then(() => true, () => false);

/** How long Chromium may take for one thing, in milliseconds: the machine runs other tests at the same time. */
const TIMEOUT_MS = 60_000;

const ARTEFACTS = new URL("../artefacts/", import.meta.url);
const ROOT = new URL("../../", import.meta.url);

function within<T>(promise: Promise<T>, what: string): Promise<T> {
  return deadline(promise, what, { timeoutMs: TIMEOUT_MS });
}

// ---------------------------------------------------------------------------------------------- the answer

Deno.test("createPage() answers with one page that is complete, not stored and allows nothing else to run", async () => {
  const page = createPage();
  const response = page();
  assertEquals(response.status, 200);
  assertEquals(response.headers.get("content-type"), "text/html; charset=utf-8");
  assertEquals(response.headers.get("cache-control"), "no-store");
  assertEquals(response.headers.get("x-content-type-options"), "nosniff");
  assertEquals(response.headers.get("referrer-policy"), "no-referrer");
  const policy = response.headers.get("content-security-policy") ?? "";
  assertEquals(policy.replaceAll(/'sha256-[\w+/]{43}='/g, "HASH").split("; "), [
    "default-src 'none'",
    "script-src HASH",
    "style-src HASH",
    "img-src data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
  ]);
  const text = await response.text();
  assertEquals(await page().text(), text);
  assertEquals([...text.matchAll(/<\/script>/g)].length, 2);
  assertEquals([...text.matchAll(/<\/style>/g)].length, 1);
  assertEquals(text.match(/\s(?:style|on\w+)=|\bsrc=|https?:\/\/(?!www\.w3\.org\/2000\/svg)/), null);
});

Deno.test("createPage() names what is inlined by its hash", async () => {
  const response = createPage()();
  const policy = response.headers.get("content-security-policy") ?? "";
  const text = await response.text();
  for (const part of [/<style>(.*?)<\/style>/s, /<script type="module">(.*?)<\/script>/s]) {
    const content = new TextEncoder().encode(part.exec(text)?.[1]);
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", content)).toBase64();
    assertStringIncludes(policy, `'sha256-${hash}'`);
  }
});

Deno.test("createPage() embeds what it is told and every close code, so that no text can end the element", async () => {
  const options: PageOptions = { protocols: ["chat", "</script><script>"], needsToken: true, maxMessageBytes: 7 };
  const text = await createPage(options)().text();
  const json = /id="settings">(.*?)<\/script>/s.exec(text)?.[1] ?? "";
  assert(!json.includes("<"), json);
  const settings = JSON.parse(json);
  assertEquals(settings.protocols, options.protocols);
  assertEquals(settings.needsToken, true);
  assertEquals(settings.maxMessageBytes, 7);
  for (const [code, info] of CLOSE_CODES) assertEquals(settings.closeCodes[code], { ...info });
  assertEquals(
    settings.closeRanges.map(({ to, name }: { to: number; name: string }) => `${to} (${name})`),
    [2999, 3999, 4999].map(describeCloseCode),
  );
});

Deno.test("the script and the server have the same idea of a token and of what is not printable", async () => {
  const script = await Deno.readTextFile(new URL("lib/server/page/page.js", ROOT));
  const sources = await Promise.all(
    ["token", "message"].map((name) => Deno.readTextFile(new URL(`lib/protocol/${name}.ts`, ROOT))),
  );
  const [token, unprintable] = [/\/\^\[!#.*?\]\+\$\//, /\/\[\\0-.*?\]\//];
  assertEquals(token.exec(script)?.[0], token.exec(sources[0] ?? "")?.[0]);
  assertEquals(unprintable.exec(script)?.[0], unprintable.exec(sources[1] ?? "")?.[0]);
  assert(token.test(script) && unprintable.test(script));
});

Deno.test("the types of the script are right", async () => {
  // The types of a browser cannot be checked together with Deno's: so not as a part of `deno task types`.
  const folder = await Deno.makeTempDir();
  const config = `${folder}/deno.json`;
  const compilerOptions = { checkJs: true, noUncheckedIndexedAccess: true, lib: ["esnext", "dom", "dom.iterable"] };
  await Deno.writeTextFile(config, JSON.stringify({ compilerOptions }));
  const args = ["check", "--quiet", "--config", config, new URL("lib/server/page/page.js", ROOT).pathname];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, env: { NO_COLOR: "1" } }).output();
  await Deno.remove(folder, { recursive: true });
  assert(success, new TextDecoder().decode(stderr));
});

// ---------------------------------------------------------------------------------------------- Chromium

// deno-lint-ignore no-explicit-any -- the DevTools protocol has hundreds of types; the tests use what they need
type Answer = any;

/** Chromium in a process of its own, over the DevTools protocol. */
class Browser {
  readonly #socket: WebSocket;
  readonly #process: Deno.ChildProcess;
  readonly #drained: Promise<void>;
  readonly #profile: string;
  readonly #calls = new Map<number, (answer: Answer) => void>();
  readonly #listeners = new Map<string, (method: string, params: Answer) => void>();
  #count = 0;

  static async launch(): Promise<Browser> {
    const profile = await Deno.makeTempDir();
    const process = new Deno.Command(CHROMIUM, {
      args: [
        ...["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"],
        ...["--disable-background-networking", "--disable-component-update", `--user-data-dir=${profile}`],
        ...["--disable-dev-shm-usage", "--remote-debugging-port=0"],
      ],
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const address = Promise.withResolvers<string>();
    const drained = (async () => {
      let text = "";
      for await (const chunk of process.stderr.pipeThrough(new TextDecoderStream())) {
        text = (text + chunk).slice(-10_000);
        const [, url] = /DevTools listening on (ws:\S+)\s/.exec(text) ?? [];
        if (url !== undefined) address.resolve(url);
      }
      address.reject(new Error(`Chromium did not start: ${text}`));
    })();
    const socket = new WebSocket(await within(address.promise, "start of Chromium"));
    const opened = Promise.withResolvers<void>();
    socket.onopen = () => opened.resolve();
    await within(opened.promise, "connection to Chromium");
    return new Browser(socket, process, drained, profile);
  }

  constructor(socket: WebSocket, process: Deno.ChildProcess, drained: Promise<void>, profile: string) {
    this.#socket = socket;
    this.#process = process;
    this.#drained = drained;
    this.#profile = profile;
    socket.onmessage = ({ data }) => {
      const { id, sessionId, method, params, ...answer } = JSON.parse(data);
      if (id === undefined) return this.#listeners.get(sessionId)?.(method, params);
      this.#calls.get(id)?.(answer);
      this.#calls.delete(id);
    };
  }

  async call(method: string, params: Record<string, unknown> = {}, sessionId?: string): Promise<Answer> {
    const id = ++this.#count;
    const answer = Promise.withResolvers<Answer>();
    this.#calls.set(id, answer.resolve);
    this.#socket.send(JSON.stringify({ id, method, params, ...(sessionId && { sessionId }) }));
    const { result, error } = await within(answer.promise, `${method} ${JSON.stringify(params).slice(0, 300)}`);
    if (error) throw new Error(`${method}: ${error.message}`);
    return result;
  }

  listen(sessionId: string, listener: (method: string, params: Answer) => void): void {
    this.#listeners.set(sessionId, listener);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = Promise.withResolvers<void>();
    this.#socket.onclose = () => closed.resolve();
    this.#process.kill("SIGKILL");
    await this.#process.status;
    await this.#drained.catch(() => {});
    await within(closed.promise, "end of the connection to Chromium");
    // Chromium's own processes may still be writing there for a moment.
    await Deno.remove(this.#profile, { recursive: true }).catch(() => {});
  }
}

/** How a tab looks at the page. */
interface Look {
  readonly width?: number;
  readonly scheme?: "light" | "dark";
  /** What runs before the page's own script. */
  readonly before?: string;
}

/** What a key is for the DevTools protocol. */
const KEYS: Record<string, Record<string, unknown>> = {
  Tab: { windowsVirtualKeyCode: 9 },
  Enter: { windowsVirtualKeyCode: 13, text: "\r" },
  Space: { windowsVirtualKeyCode: 32, text: " ", key: " " },
  ArrowDown: { windowsVirtualKeyCode: 40 },
};

/** One tab, in a context of its own, and all that happens in it. */
class Tab {
  /** The addresses that were asked for. */
  readonly requests: string[] = [];
  /** The subprotocols that each WebSocket offered. */
  readonly offers: string[] = [];
  /** Exceptions, errors on the console and violations of the policy. */
  readonly errors: string[] = [];
  #onError = () => {};
  readonly #browser: Browser;
  readonly #session: string;
  readonly #context: string;

  static async open(browser: Browser, url: string, { width = 1280, scheme = "light", before = "" }: Look = {}) {
    const { browserContextId } = await browser.call("Target.createBrowserContext");
    const { targetId } = await browser.call("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await browser.call("Target.attachToTarget", { targetId, flatten: true });
    const tab = new Tab(browser, sessionId, browserContextId);
    for (const domain of ["Page", "Runtime", "Log", "Network", "DOM", "Accessibility"]) {
      await tab.call(`${domain}.enable`);
    }
    await tab.call("Emulation.setDeviceMetricsOverride", { width, height: 900, deviceScaleFactor: 1, mobile: false });
    // Else the bar takes a part of the width, and of the screenshot.
    await tab.call("Emulation.setScrollbarsHidden", { hidden: true });
    await tab.call("Emulation.setFocusEmulationEnabled", { enabled: true });
    await tab.call("Emulation.setEmulatedMedia", {
      features: [{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }],
    });
    await tab.call("Page.addScriptToEvaluateOnNewDocument", { source: before });
    await tab.call("Page.navigate", { url });
    await tab.until("document.readyState === 'complete' && document.getElementById('command')?.textContent !== ''");
    return tab;
  }

  constructor(browser: Browser, session: string, context: string) {
    this.#browser = browser;
    this.#session = session;
    this.#context = context;
    browser.listen(session, (method, params) => {
      if (method === "Network.requestWillBeSent") this.requests.push(params.request.url);
      if (method === "Network.webSocketCreated") this.requests.push(params.url);
      if (method === "Network.webSocketWillSendHandshakeRequest") {
        this.offers.push(params.request.headers["Sec-WebSocket-Protocol"] ?? "");
      }
      if (method === "Runtime.exceptionThrown") this.#addError(params.exceptionDetails.exception?.description);
      if (method === "Runtime.consoleAPICalled") this.#addError(JSON.stringify(params.args));
      if (method === "Log.entryAdded") this.#addError(params.entry.text);
    });
  }

  #addError(text: string): void {
    this.errors.push(text);
    this.#onError();
  }

  /** Waits for the next thing that goes wrong. */
  nextError(): Promise<void> {
    return new Promise((resolve) => this.#onError = resolve);
  }

  call(method: string, params: Record<string, unknown> = {}): Promise<Answer> {
    return this.#browser.call(method, params, this.#session);
  }

  /** The value of an expression in the page. */
  async evaluate(expression: string): Promise<Answer> {
    const params = { expression, awaitPromise: true, returnByValue: true, userGesture: true };
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", params);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until an expression in the page is true, which is looked at whenever the page changes. */
  async until(expression: string): Promise<void> {
    const condition = `new Promise((resolve) => {
      const look = () => { if (${expression}) { observer.disconnect(); resolve(); } };
      const observer = new MutationObserver(look);
      observer.observe(document, { subtree: true, childList: true, characterData: true, attributes: true });
      document.addEventListener("readystatechange", look);
      look();
    })`;
    try {
      await this.evaluate(condition);
    } catch (error) {
      // A document that was replaced has taken the promise with it.
      if (/context|navigated|collected/i.test(String(error))) {
        return await this.until(expression);
      }
      const seen = await this.evaluate("document.body.innerText").catch(() => "");
      throw new Error(`Waited in vain until ${expression}: ${seen}`, { cause: error });
    }
  }

  /** The one element with this role and accessible name. */
  async find(role: string, name: string): Promise<string> {
    const { root } = await this.call("DOM.getDocument", { depth: 0 });
    const query = { nodeId: root.nodeId, role, accessibleName: name };
    const { nodes } = await this.call("Accessibility.queryAXTree", query);
    const found = nodes.filter((node: Answer) => !node.ignored);
    assertEquals(found.length, 1, `${found.length} elements are a ${role} named "${name}"`);
    const { object } = await this.call("DOM.resolveNode", { backendNodeId: found[0].backendDOMNodeId });
    return object.objectId;
  }

  async click(role: string, name: string): Promise<void> {
    const objectId = await this.find(role, name);
    await this.call("DOM.scrollIntoViewIfNeeded", { objectId });
    const { quads } = await this.call("DOM.getContentQuads", { objectId });
    const [left, top, right, , , bottom] = quads[0];
    const at = { x: (left + right) / 2, y: (top + bottom) / 2, button: "left", clickCount: 1 };
    await this.call("Input.dispatchMouseEvent", { type: "mousePressed", ...at });
    await this.call("Input.dispatchMouseEvent", { type: "mouseReleased", ...at });
  }

  /** Writes into a field, instead of what stands there. */
  async fill(name: string, text: string): Promise<void> {
    const objectId = await this.find("textbox", name);
    await this.call("DOM.focus", { objectId });
    await this.call("Runtime.callFunctionOn", { objectId, functionDeclaration: "function () { this.select(); }" });
    await this.type(text);
    if (text === "") {
      const functionDeclaration =
        "function () { this.value = ''; this.dispatchEvent(new Event('input', { bubbles: true })); }";
      await this.call("Runtime.callFunctionOn", { objectId, functionDeclaration });
    }
  }

  async type(text: string): Promise<void> {
    await this.call("Input.insertText", { text });
  }

  async press(key: string, modifiers: { shift?: boolean } = {}): Promise<void> {
    const event = { key, code: key, modifiers: modifiers.shift ? 8 : 0, ...KEYS[key] };
    await this.call("Input.dispatchKeyEvent", { type: "keyDown", ...event });
    await this.call("Input.dispatchKeyEvent", { type: "keyUp", ...event, text: undefined });
  }

  /** The role and name of what has the focus. */
  async focused(): Promise<string> {
    const { result } = await this.call("Runtime.evaluate", { expression: "document.activeElement" });
    const { nodes } = await this.call("Accessibility.getPartialAXTree", {
      objectId: result.objectId,
      fetchRelatives: false,
    });
    return `${nodes[0].role.value} ${nodes[0].name?.value ?? ""}`;
  }

  text(selector: string): Promise<string> {
    return this.evaluate(`document.querySelector(${JSON.stringify(selector)}).innerText`);
  }

  async untilText(selector: string, text: string): Promise<void> {
    await this.until(
      `document.querySelector(${JSON.stringify(selector)})?.innerText.includes(${JSON.stringify(text)})`,
    );
  }

  async connect(): Promise<void> {
    await this.click("button", "Connect");
    await this.untilText("#state", "Connected");
  }

  /** The rows of the log, oldest first, without their time. */
  async rows(): Promise<string[]> {
    const texts: string[] = await this.evaluate(
      "[...document.querySelectorAll('#log li')].map((row) => row.textContent)",
    );
    return texts.map((text) => text.replace(/^\d\d:\d\d:\d\d\.\d{3} /, "").replaceAll(/\d+\.?\d* ms/g, "N ms").trim())
      .reverse();
  }

  async screenshot(name: string): Promise<void> {
    const { data } = await this.call("Page.captureScreenshot", { format: "png", captureBeyondViewport: true });
    await Deno.mkdir(ARTEFACTS, { recursive: true });
    await Deno.writeFile(new URL(`${name}.png`, ARTEFACTS), Uint8Array.fromBase64(data));
  }

  async close(): Promise<void> {
    await this.#browser.call("Target.disposeBrowserContext", { browserContextId: this.#context });
  }
}

// ---------------------------------------------------------------------------------------------- the server

/** Peers of the page that do something else than to echo, by their path. */
const PEERS: Record<string, (socket: WebSocket) => void> = {
  "/bye": (socket) => socket.onopen = () => socket.close(4321, 'see "you"'),
  "/illegal": (socket) => socket.onopen = () => socket.close(1006),
  "/empty": (socket) => socket.onmessage = () => socket.close(),
  "/wrong": (socket) =>
    socket.onmessage = ({ data }) =>
      socket.send(typeof data === "string" ? `${data}!` : new Uint8Array(data).reverse()),
  "/greeting": (socket) => socket.onopen = () => socket.send("<b>welcome</b>\u001b[31m\u202e"),
};

/** The page and the echo server behind one port, as `deno task server` has them. */
function serve(options: PageOptions) {
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

/** What a POSIX shell makes of a command: with a function `deno` that runs the client at once, or with the real task. */
async function shell(
  command: string,
  { env = {}, task = false }: { env?: Record<string, string>; task?: boolean } = {},
) {
  const deno = Deno.execPath();
  const client = ["run", "--no-prompt", ...standIns, "--allow-net", "--allow-read", "main.ts"].join(" ");
  const first = task ? `PATH='${deno.replace(/\/[^/]*$/, "")}':$PATH` : `deno() { shift 2; '${deno}' ${client} "$@"; }`;
  const options = { args: ["-c", `${first}\n${command} --json`], cwd: ROOT, env: { NO_COLOR: "1", ...env } };
  const { code, stdout, stderr } = await within(new Deno.Command("sh", options).output(), command);
  const text = new TextDecoder().decode(stdout);
  assertEquals(code, 0, `${command}: ${text}${new TextDecoder().decode(stderr)}`);
  return JSON.parse(text);
}

// ---------------------------------------------------------------------------------------------- what the page does

/** One thing that the page does. */
interface Case extends Look {
  readonly options?: PageOptions;
  /** What Chromium itself logs, as of a connection that fails. */
  readonly logs?: RegExp;
  readonly run: (tab: Tab, host: string) => Promise<void>;
}

const CASES: Record<string, Case> = {
  "it connects, echoes text and binary, and shows size, round trip and verdict": {
    async run(tab, host) {
      await tab.connect();
      await tab.click("button", "Send");
      await tab.untilText("#log", "the same as sent");
      await tab.fill("Message", "é€😀\n\t");
      await tab.click("radio", "Binary, UTF-8");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('.received').length === 2");
      await tab.fill("Message", "00 FF\n7f");
      await tab.click("radio", "Binary, hex digits");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('.received').length === 3");
      await tab.fill("Message", "");
      await tab.click("radio", "Text");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('.received').length === 4");
      assertEquals(await tab.rows(), [
        "opened",
        'sent text, 11 bytes  "Hello world"',
        'received text, 11 bytes N ms "Hello world" the same as sent',
        "sent binary, 11 bytes  c3 a9 e2 82 ac f0 9f 98 80 0a 09",
        "received binary, 11 bytes N ms c3 a9 e2 82 ac f0 9f 98 80 0a 09 the same as sent",
        "sent binary, 3 bytes  00 ff 7f",
        "received binary, 3 bytes N ms 00 ff 7f the same as sent",
        'sent text, 0 bytes  ""',
        'received text, 0 bytes N ms "" the same as sent',
      ]);
      assertEquals(tab.requests, [`http://${host}/`, `ws://${host}/`]);
    },
  },
  "it plots a point for each round trip, with the numbers as text": {
    async run(tab) {
      await tab.connect();
      assertEquals(await tab.text("#plot-summary"), "None yet.");
      await tab.evaluate(`window.announced = 0;
        new MutationObserver(() => window.announced++).observe(document.getElementById("announcer"), { childList: true })`);
      await tab.fill("Times", "70");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('.received').length === 70");
      assertEquals(await tab.evaluate("document.querySelectorAll('#plot .bar').length"), 60);
      const summary = await tab.text("#plot-summary");
      assertMatch(summary, /^Last 60: min \d+(\.\d+)? ms, median \d+(\.\d+)? ms, max \d+(\.\d+)? ms\.$/);
      await tab.find("image", summary);
      await tab.untilText("#announcer", "received text, 11 bytes, the same as sent, round trip");
      assert(await tab.evaluate("window.announced") < 70);
      await tab.fill("Times", "40");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('.opened').length === 0");
      await tab.click("button", "Close");
      await tab.untilText("#state", "Closed");
      assertEquals(await tab.evaluate("document.querySelectorAll('#log li').length"), 200);
      await tab.click("button", "Clear");
      assertEquals(await tab.evaluate("document.querySelectorAll('#log li, #plot .bar').length"), 0);
    },
  },
  "it says that the reply is not what was sent": {
    async run(tab) {
      await tab.fill("Path and query", "/wrong");
      await tab.connect();
      await tab.click("button", "Send");
      await tab.untilText("#log", "not what was sent");
      await tab.click("radio", "Binary, hex digits");
      await tab.fill("Message", "01 02");
      await tab.click("button", "Send");
      await tab.until("document.querySelectorAll('.received').length === 2");
      assertMatch((await tab.rows()).at(-1) ?? "", /^received binary, 2 bytes N ms 02 01 not what was sent$/);
    },
  },
  "it shows what a peer sends as text, with control characters as escapes": {
    async run(tab) {
      await tab.fill("Path and query", "/greeting");
      await tab.connect();
      await tab.untilText("#log", "nothing was sent for it");
      assertEquals(
        (await tab.rows())[1],
        String
          .raw`received text, 22 bytes  "<b>welcome</b>\u001b[31m\u202e" nothing was sent for it`,
      );
    },
  },
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
      await tab.untilText("#state", String.raw`4321 (private use), reason "see \"you\"": said by the server.`);
      assertMatch(await tab.text("#end-facts"), /Who began\s+The server\s/);
    },
  },
  "it says that the connection was lost when there was no close frame that is valid": {
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
      await tab.untilText("#state", "1005 (no status received): said by the server.");
      assertMatch(await tab.text("#end-facts"), /Not echoed\s+1 of the messages sent/);
    },
  },
  "it says what can be known of a refusal, and can connect again": {
    logs: /refused.*403/,
    async run(tab) {
      await tab.fill("Path and query", "/refused");
      await tab.click("button", "Connect");
      await tab.untilText("#state", "No connection");
      await tab.untilText("#state", "neither the cause nor the HTTP status");
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
  "it refuses fields that cannot be used, marks and focuses them, and says what would do": {
    options: { maxMessageBytes: 12 },
    async run(tab) {
      await tab.click("button", "Send");
      await tab.untilText("#send-problem", "There is no connection: connect first.");
      await tab.fill("Subprotocols to offer", "a b,c, a");
      await tab.click("button", "Connect");
      await tab.untilText("#connect-problem", '"a" is there twice.');
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
        ["Text", "Hello worlds!", "The message has 13 bytes: this server takes at most 12."],
        ["Binary, UTF-8", "€€€€€", "The message has 15 bytes: this server takes at most 12."],
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
      for (const count of ["0", "1001", "x"]) {
        await tab.fill("Times", count);
        await tab.click("button", "Send");
        await tab.untilText("#send-problem", "Times is a whole number from 1 to 1000.");
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
      assertEquals(await tab.rows(), ["opened"]);
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
  "it offers the token behind another subprotocol, and shows it nowhere": {
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
        `deno task client -m 'Hello world' -p chat -p v2 -H "Authorization: Bearer $WSPROOF_TOKEN" ws://${host}/`,
      );
      assertEquals((await shell(command, { env: { WSPROOF_TOKEN: "abc" } })).protocol, "chat");
    },
  },
  "it wants a subprotocol beside the token, as the browser would drop the connection": {
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
  "its command does the same, whatever a shell makes of the characters": {
    async run(tab, host) {
      const run = async (kind: string, message: string, task = false) => {
        await tab.click("radio", kind);
        await tab.fill("Message", message);
        const report = await shell(await tab.text("#command"), { task });
        const [first] = report.messages;
        return [report.sent.messages, first.kind, first.sha256];
      };
      const plain = `deno task client -m 'Hello world' ws://${host}/`;
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
      assertStringIncludes(await tab.text("#command"), "deno task client -f message.bin -n 2");
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
  "the keyboard alone reaches all of it, and the focus can be seen": {
    async run(tab) {
      const stops: string[] = [];
      for (let presses = 0; presses < 13; presses++) {
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
        "button Clear",
        "region Log of the messages",
        "button Copy",
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
      const { nodes } = await tab.call("Accessibility.getFullAXTree");
      const named = nodes.filter((node: Answer) => !node.ignored)
        .map((node: Answer) => `${node.role.value} ${node.name?.value ?? ""}`.trim());
      for (
        const part of [
          ...["banner", "main", "heading WebSocket echo server", "region Connection", "region Message", "region Close"],
          ...["region Round trips", "region Messages", "region The same on the command line", "image None yet."],
          ...["group Subprotocols to offer", "group Send as", "textbox Token", "checkbox chat", "list", "status"],
        ]
      ) assert(named.includes(part), `There is no ${part} in ${named.join("; ")}`);
      const nameless = /^(textbox|button|radio|checkbox|region|group|image|heading|link)$/;
      assertEquals(named.filter((part: string) => nameless.test(part)), []);
      assertEquals(await tab.evaluate("document.documentElement.lang"), "en");
      assertEquals(
        await tab.evaluate("[...document.querySelectorAll('[role=alert], [role=status]')].map(({ id }) => id)"),
        [
          ...["connect-problem", "state", "send-problem", "close-problem", "announcer", "copied"],
        ],
      );
    },
  },
  "the policy stops what is not the page's own": {
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
};

async function sha256(message: string | Uint8Array<ArrayBuffer>): Promise<string> {
  const bytes = typeof message === "string" ? new TextEncoder().encode(message) : message;
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
}

/** In the page: the text with the least contrast to what is behind it, and the border of a field. */
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
  const edges = [...document.querySelectorAll("input:not([type=radio]), textarea")].filter((node) => node.checkVisibility())
    .map((node) => [contrast(getComputedStyle(node).borderTopColor, behind(node.parentElement)), node.id]);
  return { texts, edges };
})()`;

for (const scheme of ["light", "dark"] as const) {
  for (const width of [1280, 320]) {
    CASES[`it can be read in ${scheme} colours at a width of ${width} pixels (screenshots)`] = {
      scheme,
      width,
      options: { needsToken: true, protocols: ["chat", "superchat"] },
      logs: /refused.*403/,
      async run(tab) {
        const look = async (name: string) => {
          const { texts, edges } = await tab.evaluate(CONTRASTS);
          assert(texts.length > 30 && edges.length > 4);
          assertEquals(texts.filter(([contrast]: [number]) => contrast < 4.5), []);
          assertEquals(edges.filter(([contrast]: [number]) => contrast < 3), []);
          const wide = await tab.evaluate("document.documentElement.scrollWidth");
          assert(wide <= width, `${wide} pixels are needed`);
          await tab.screenshot(`page-${scheme}-${width}-${name}`);
        };
        await tab.connect();
        await tab.fill("Times", "24");
        await tab.click("button", "Send");
        await tab.until("document.querySelectorAll('.received').length === 24");
        await tab.fill("Times", "1");
        await tab.click("radio", "Binary, hex digits");
        await tab.fill("Message", `${"c0 ff ee 00 ".repeat(12)}`);
        await tab.press("Enter");
        await tab.until("document.querySelectorAll('.received').length === 25");
        await look("open");
        await tab.fill("Code", "4000");
        await tab.fill("Reason", `"that's all"`);
        await tab.click("button", "Close");
        await tab.untilText("#state", "confirmed by the server");
        await look("closed");
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

Deno.test({
  name: "the page in Chromium",
  ignore: !hasChromium,
  fn: async (t) => {
    await using browser = await Browser.launch();
    for (const [name, { options = {}, logs = /^$/, run, ...look }] of Object.entries(CASES)) {
      await t.step(name, async () => {
        const server = serve(options);
        const tab = await Tab.open(browser, `http://${server.host}/`, look);
        try {
          await run(tab, server.host);
          assertEquals(tab.errors.filter((error) => !logs.test(error)), []);
          const isOurs = (url: string) => URL.parse(url)?.host === server.host || url === "data:,";
          if (!name.startsWith("the policy")) assertEquals(tab.requests.filter((url) => !isOurs(url)), []);
        } finally {
          await tab.close();
          await server.stop();
        }
      });
    }
  },
});
