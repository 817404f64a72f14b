/**
 * The lab's listener, built on `node:net`, whose sockets can be reset. Without a free descriptor for a connection, Deno
 * stops accepting there for good, and without an event: this listener notices and listens anew.
 *
 * @module
 */

import { createServer, type Server, type Socket } from "node:net";
import { messageOf } from "../protocol/error.ts";
import { inUrl, ListenError } from "../net/host.ts";
import type { StreamListener } from "../net/tls.ts";
import type { Turns } from "../net/turns.ts";
import { RawSocket } from "../peer/socket.ts";

/**
 * A listener that survives a shortage of descriptors.
 *
 * @example
 * ```ts
 * import { LabListener } from "./listener.ts";
 * import { Turns } from "../net/turns.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const listener = await LabListener.listen("127.0.0.1", 0, new Turns());
 * const connection = await Deno.connect({ port: listener.addr.port });
 * const accepted = await listener.accept();
 * await accepted.write(new TextEncoder().encode("hi"));
 * await accepted.closeWrite();
 * assertEquals(await new Response(connection.readable).text(), "hi");
 * accepted.close();
 * listener.close();
 * ```
 */
export class LabListener implements StreamListener {
  /** The bound address. */
  readonly addr: Deno.NetAddr;
  readonly #turns: Turns;
  readonly #accepted: Socket[] = [];
  #server: Server;
  /** Resolves on the next connection or on the end. */
  #change: PromiseWithResolvers<void> | undefined;
  /** Whether the last descriptor is taken: this server accepts no more. */
  #isShort = false;
  #isClosed = false;

  private constructor(server: Server, addr: Deno.NetAddr, turns: Turns) {
    this.#server = server.on("connection", this.#onConnection);
    this.addr = addr;
    this.#turns = turns;
  }

  /**
   * Starts to listen.
   *
   * @param hostname The host name or address.
   * @param port The port, 0 for any free one.
   * @param turns The queue of all connections.
   * @returns The listener.
   * @throws {ListenError} If listening fails.
   */
  static async listen(hostname: string, port: number, turns: Turns): Promise<LabListener> {
    try {
      const server = await serverOn(hostname, port);
      const address = server.address();
      const bound = typeof address === "object" && address !== null ? address : { address: hostname, port };
      return new LabListener(server, { transport: "tcp", hostname: bound.address, port: bound.port }, turns);
    } catch (error) {
      throw new ListenError(hostname, port, error);
    }
  }

  /**
   * Waits for the next connection.
   *
   * @returns The connection.
   * @throws {Error} If no descriptor is free, or the listener is closed.
   */
  async accept(): Promise<RawSocket> {
    while (true) {
      const socket = this.#accepted.shift();
      if (socket) return new RawSocket(socket, this.#turns);
      if (this.#isClosed) throw new Error("Listener is closed");
      if (this.#isShort) await this.#listenAnew();
      this.#change = Promise.withResolvers();
      await this.#change.promise;
    }
  }

  /** Stops listening. */
  close(): void {
    this.#isClosed = true;
    this.#server.close();
    // Nobody will accept these.
    for (const socket of this.#accepted.splice(0)) socket.destroy();
    this.#change?.resolve();
  }

  readonly #onConnection = (accepted: Socket): void => {
    if (this.#isClosed) return void accepted.destroy();
    this.#accepted.push(accepted);
    this.#isShort ||= this.#shortage() !== undefined;
    this.#change?.resolve();
  };

  async #listenAnew(): Promise<void> {
    const shortage = this.#shortage();
    if (shortage !== undefined) throw new Error(shortage);
    this.#server.close();
    this.#server = (await serverOn(this.addr.hostname, this.addr.port)).on("connection", this.#onConnection);
    this.#isShort = false;
    if (this.#isClosed) this.#server.close();
  }

  /** The error of a second listener on the port, if descriptors have run out; not if the port is only taken. */
  #shortage(): string | undefined {
    const { hostname, port } = this.addr;
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
  // An unhandled error would end the process.
  server.on("error", () => {});
  return server;
}
