/** Chromium for tests, driven by keyboard and mouse over the DevTools protocol; finds elements by role and name. */

import { assertEquals } from "@std/assert";
import { within as deadline } from "../../lib/net/deadline.ts";

const CHROMIUM = "/usr/bin/chromium";

/** Debian's Chromium; the gate installs it. */
export const hasChromium = await Deno.stat(CHROMIUM).then(() => true, () => false);

/** Deadline for one action of Chromium, in milliseconds: other tests run at the same time. */
const TIMEOUT_MS = 60_000;

const ARTEFACTS = new URL("../artefacts/", import.meta.url);

export function within<T>(promise: Promise<T>, what: string): Promise<T> {
  return deadline(promise, what, { timeoutMs: TIMEOUT_MS });
}

// deno-lint-ignore no-explicit-any -- the DevTools protocol has hundreds of types; the tests use few
export type Answer = any;

/** A Chromium process, driven over the DevTools protocol. */
export class Browser {
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
    // Chromium's child processes may still be writing for a moment.
    await Deno.remove(this.#profile, { recursive: true }).catch(() => {});
  }
}

/** The viewport and setup of a tab. */
export interface Look {
  readonly width?: number;
  readonly scheme?: "light" | "dark";
  /** Script to run before the page's own. */
  readonly before?: string;
}

/** Keys in the terms of the DevTools protocol. */
const KEYS: Record<string, Record<string, unknown>> = {
  Tab: { windowsVirtualKeyCode: 9 },
  Enter: { windowsVirtualKeyCode: 13, text: "\r" },
  Space: { windowsVirtualKeyCode: 32, text: " ", key: " " },
  ArrowDown: { windowsVirtualKeyCode: 40 },
};

/** One tab in its own context, with a record of its events. */
export class Tab {
  /** The requested addresses. */
  readonly requests: string[] = [];
  /** The subprotocols offered by each WebSocket. */
  readonly offers: string[] = [];
  /** Exceptions, console errors and policy violations. */
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
    // A scroll bar would take part of the width and of the screenshot.
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

  /** Waits for the next error. */
  nextError(): Promise<void> {
    return new Promise((resolve) => this.#onError = resolve);
  }

  call(method: string, params: Record<string, unknown> = {}): Promise<Answer> {
    return this.#browser.call(method, params, this.#session);
  }

  /** Evaluates an expression in the page. */
  async evaluate(expression: string): Promise<Answer> {
    const params = { expression, awaitPromise: true, returnByValue: true, userGesture: true };
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", params);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }

  /** Waits until an expression in the page is true; every change of the page checks again. */
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
      // A replaced document takes the promise with it.
      if (/context|navigated|collected/i.test(String(error))) {
        return await this.until(expression);
      }
      const seen = await this.evaluate("document.body.innerText").catch(() => "");
      throw new Error(`Waited in vain until ${expression}: ${seen}`, { cause: error });
    }
  }

  /** Finds the one element with this role and accessible name. */
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

  /** Replaces the text of a field. */
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

  /** The role and name of the focused element. */
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

  /** The rows of the log, oldest first, without the time. */
  async rows(): Promise<string[]> {
    const texts: string[] = await this.evaluate(
      "[...document.querySelectorAll('#log li')].map((row) => row.textContent)",
    );
    return texts.map((text) =>
      text.replace(/ ?\d\d:\d\d:\d\d\.\d{3}/, "").replaceAll(/\d+\.?\d* ms/g, "N ms").replaceAll(/ +/g, " ").trim()
    ).reverse();
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
