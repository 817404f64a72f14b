/**
 * The transport of a player, for either end of a connection.
 *
 * @module
 */

import { writeAll } from "../net/dial.ts";

/** The transport of a player. */
export interface RawTransport {
  /** Reads the bytes that arrived, or waits for some; `null` at the other side's end. */
  read(into: Uint8Array): Promise<number | null>;
  /** Writes all bytes. */
  write(bytes: Uint8Array): Promise<void>;
  /** Ends our half of TCP. */
  closeWrite(): Promise<void>;
  /** Closes the connection, which fails every wait. */
  close(): void;
}

/**
 * Makes the transport of a connection that we opened.
 *
 * @param connection The connection.
 * @returns The transport.
 *
 * @example
 * ```ts
 * import { clientTransport } from "./transport.ts";
 * import { assertEquals } from "@std/assert";
 *
 * using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
 * const transport = clientTransport(await Deno.connect({ hostname: "127.0.0.1", port: listener.addr.port }));
 * using accepted = await listener.accept();
 * await transport.write(Uint8Array.of(1, 2));
 * assertEquals(await accepted.read(new Uint8Array(8)), 2);
 * transport.close();
 * transport.close();
 * ```
 */
export function clientTransport(connection: Deno.Conn): RawTransport {
  let isClosed = false;
  return {
    read: (into) => connection.read(into),
    write: (bytes) => writeAll(connection, bytes),
    closeWrite: () => connection.closeWrite(),
    close() {
      if (isClosed) return;
      isClosed = true;
      connection.close();
    },
  };
}
