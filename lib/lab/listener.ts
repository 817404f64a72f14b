/**
 * The lab's listener. It stands on `node:net`, of which Deno stops accepting for good, and without an event, once there was no
 * descriptor for a connection: this one notices, and listens anew.
 *
 * @module
 */

import { createServer, type Server, type Socket } from "node:net";
import { messageOf } from "../protocol/error.ts";
import { inUrl, ListenError } from "../net/host.ts";

/** How often a listener without descriptors looks for one, in milliseconds: 100. */
const LOOK_INTERVAL_MS = 100;

/** What a {@linkcode LabListener} tells. */
export interface LabListenerEvents {
  /** A connection has come. */
  onConnection(accepted: Socket): void;
  /** No connections can be taken for now. */
  onTrouble(error: string): void;
}

/**
 * Listens, also after there was no descriptor for a connection.
 *
 * @example
 * ```ts
 * import { LabListener } from "./listener.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = await LabListener.listen("127.0.0.1", 0, {
 *   onConnection: (accepted) => accepted.end("hi"),
 *   onTrouble: console.error,
 * });
 * const connection = await Deno.connect({ port: listener.port });
 * assertEquals(await new Response(connection.readable).text(), "hi");
 * await listener.close();
 * ```
 */
export class LabListener {
  /** The address. */
  readonly hostname: string;
  /** The port. */
  readonly port: number;
  readonly #events: LabListenerEvents;
  #server: Server;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isClosed = false;

  private constructor(server: Server, hostname: string, port: number, events: LabListenerEvents) {
    this.#server = server;
    this.hostname = hostname;
    this.port = port;
    this.#events = events;
    server.on("connection", this.#onConnection);
  }

  /**
   * Begins to listen.
   *
   * @param hostname The host name or address.
   * @param port The port, 0 for any free one.
   * @param events What is told.
   * @returns The listener.
   * @throws {ListenError} If it cannot listen there.
   */
  static async listen(hostname: string, port: number, events: LabListenerEvents): Promise<LabListener> {
    try {
      const server = await serverOn(hostname, port);
      const address = server.address();
      const bound = typeof address === "object" && address !== null ? address : { address: hostname, port };
      return new LabListener(server, bound.address, bound.port, events);
    } catch (error) {
      throw new ListenError(hostname, port, error);
    }
  }

  /** Stops listening, and waits until every connection has ended. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  readonly #onConnection = (accepted: Socket): void => {
    this.#events.onConnection(accepted);
    // The connection that took the last descriptor is the last that this server takes.
    const shortage = this.#timer === undefined ? this.#shortage() : undefined;
    if (shortage === undefined) return;
    this.#events.onTrouble(shortage);
    this.#timer = setTimeout(this.#look, LOOK_INTERVAL_MS);
  };

  readonly #look = async (): Promise<void> => {
    try {
      if (this.#shortage() === undefined) {
        this.#server.close();
        const server = await serverOn(this.hostname, this.port);
        server.on("connection", this.#onConnection);
        this.#server = server;
        this.#timer = undefined;
        if (this.#isClosed) server.close();
        return;
      }
    } catch {
      // Somebody else was faster: there will be another descriptor.
    }
    if (!this.#isClosed) this.#timer = setTimeout(this.#look, LOOK_INTERVAL_MS);
  };

  /** What is wrong if a second listener on the same port fails for want of a descriptor, and not because the port is taken. */
  #shortage(): string | undefined {
    const { hostname, port } = this;
    if (Deno.permissions.querySync({ name: "net", host: `${inUrl(hostname)}:${port}` }).state !== "granted") {
      return undefined;
    }
    try {
      Deno.listen({ hostname, port }).close();
      return undefined;
    } catch (error) {
      return /Too many open files/i.test(messageOf(error)) ? messageOf(error) : undefined;
    }
  }
}

async function serverOn(hostname: string, port: number): Promise<Server> {
  const server = createServer({ allowHalfOpen: true });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(port, hostname, resolve);
  await promise;
  server.off("error", reject);
  // Unheard, an error would end the process.
  server.on("error", () => {});
  return server;
}
