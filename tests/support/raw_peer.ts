/** A WebSocket server written by hand over TCP, to test faults of a peer. It imports nothing of lib/. */

/** The behavior of one connection. */
export type Script = (socket: RawSocket) => Promise<void>;

/** A server that runs a script for each connection; dispose of it to stop it. */
export interface RawPeer extends AsyncDisposable {
  readonly url: string;
  readonly port: number;
  /** Resolves when the first connection's script has ended. */
  readonly done: Promise<void>;
}

/** Starts a server on a free port of 127.0.0.1. The end of a script drops its connection. */
export function rawPeer(script: Script, tls?: { cert: string; key: string }): RawPeer {
  const options = { hostname: "127.0.0.1", port: 0 };
  const listener = tls ? Deno.listenTls({ ...options, ...tls }) : Deno.listen(options);
  const { port } = listener.addr as Deno.NetAddr;
  const done = Promise.withResolvers<void>();
  const running = new Set<Promise<void>>();
  const open = new Set<RawSocket>();
  const serve = async (connection: Deno.Conn) => {
    const socket = new RawSocket(connection);
    open.add(socket);
    try {
      await script(socket);
    } catch {
      // The end of the peer ends the script: the test judges the client.
    }
    socket.close();
    open.delete(socket);
    done.resolve();
  };
  const accepting = (async () => {
    while (true) {
      try {
        const task = serve(await listener.accept());
        running.add(task);
        task.finally(() => running.delete(task));
      } catch (error) {
        // A failed TLS handshake ends one connection, a closed listener all.
        if (error instanceof Deno.errors.BadResource || error instanceof Deno.errors.Interrupted) return;
      }
    }
  })();
  return {
    url: `${tls ? "wss" : "ws"}://127.0.0.1:${port}/`,
    port,
    done: done.promise,
    async [Symbol.asyncDispose]() {
      listener.close();
      for (const socket of open) socket.close();
      await accepting;
      await Promise.allSettled(running);
    },
  };
}

/** A client's handshake by hand; `fields` replaces the field of the same name, or removes it. */
export function requestHead(fields: Record<string, string | undefined> = {}, line = "GET / HTTP/1.1"): string {
  const all: Record<string, string | undefined> = {
    Host: "127.0.0.1",
    Upgrade: "websocket",
    Connection: "Upgrade",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    ...fields,
  };
  const lines = Object.entries(all).filter(([, value]) => value !== undefined).map(([name, value]) =>
    `${name}: ${value}`
  );
  return [line, ...lines, "", ""].join("\r\n");
}

/** Connects without a handshake. */
export async function connectRaw(url: string): Promise<RawSocket> {
  const { hostname, port } = new URL(url);
  return new RawSocket(await Deno.connect({ hostname, port: Number(port) }), { masks: true });
}

/** Connects and completes the upgrade. */
export async function rawClient(url: string): Promise<RawSocket> {
  const socket = await connectRaw(url);
  try {
    await socket.write(requestHead({}, `GET ${new URL(url).pathname} HTTP/1.1`));
    await socket.readHead();
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

/** A frame on the wire. */
export interface RawFrame {
  readonly opcode: number;
  readonly payload: Uint8Array<ArrayBuffer>;
  /** The reserved bits, if any are set; RSV1 is 4. */
  readonly reserved?: number;
}

export const TEXT = 1;
export const BINARY = 2;
export const CLOSE = 8;

export class RawSocket {
  readonly #connection: Pick<Deno.Conn, "read" | "write" | "closeWrite" | "close">;
  /** Received bytes: those from `#start` to `#end` are unread. */
  #buffer = new Uint8Array(65536);
  #start = 0;
  #end = 0;
  readonly #stopped = Promise.withResolvers<void>();
  readonly #masks: boolean;
  #isClosed = false;

  constructor(
    connection: Pick<Deno.Conn, "read" | "write" | "closeWrite" | "close">,
    { masks = false }: { masks?: boolean } = {},
  ) {
    this.#connection = connection;
    this.#masks = masks;
  }

  /** Reads the request up to the empty line. */
  async readHead(): Promise<string> {
    while (true) {
      const head = new TextDecoder("latin1").decode(this.#buffer.subarray(this.#start, this.#end));
      const end = head.indexOf("\r\n\r\n");
      if (end !== -1) return new TextDecoder().decode(await this.#take(end + 4)).slice(0, -4);
      await this.#readMore();
    }
  }

  /** Reads the request and answers with a correct upgrade. */
  async upgrade(...fields: string[]): Promise<string> {
    const head = await this.readHead();
    await this.answerUpgrade(head, ...fields);
    return head;
  }

  /** Answers a request with a correct upgrade; a field Connection replaces the usual one. */
  async answerUpgrade(head: string, ...fields: string[]): Promise<void> {
    const key = /^sec-websocket-key: *(\S+)/im.exec(head)?.[1] ?? "";
    const digest = await crypto.subtle.digest(
      "SHA-1",
      new TextEncoder().encode(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`),
    );
    const accept = new Uint8Array(digest).toBase64();
    const answer = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket"];
    if (!fields.some((field) => field.startsWith("Connection:"))) answer.push("Connection: Upgrade");
    await this.write([...answer, `Sec-WebSocket-Accept: ${accept}`, ...fields, "", ""].join("\r\n"));
  }

  /** Reads exactly this many bytes. */
  readBytes(count: number): Promise<Uint8Array> {
    return this.#take(count);
  }

  /** Reads one frame and unmasks it. */
  async readFrame(): Promise<RawFrame> {
    const [first = 0, second = 0] = await this.#take(2);
    let length = second & 127;
    if (length === 126) length = new DataView((await this.#take(2)).buffer).getUint16(0);
    else if (length === 127) length = Number(new DataView((await this.#take(8)).buffer).getBigUint64(0));
    const mask = second & 128 ? await this.#take(4) : [];
    const payload = await this.#take(length);
    applyMask(payload, mask);
    const reserved = (first >> 4) & 7;
    return { opcode: first & 15, payload, ...(reserved !== 0 && { reserved }) };
  }

  /** Writes one frame, masked as a client; `firstByte` replaces FIN and the reserved bits. */
  async frame(opcode: number, payload: string | Uint8Array = "", firstByte = 0x80): Promise<void> {
    const bytes = typeof payload === "string" ? new TextEncoder().encode(payload) : payload;
    const header = [firstByte | opcode];
    if (bytes.byteLength < 126) header.push(bytes.byteLength);
    else if (bytes.byteLength < 65536) header.push(126, bytes.byteLength >> 8, bytes.byteLength & 255);
    else header.push(127, ...new Uint8Array(new BigUint64Array([BigInt(bytes.byteLength)]).buffer).reverse());
    const mask = this.#masks ? [0x12, 0x34, 0x56, 0x78] : [];
    if (this.#masks) header[1] = (header[1] ?? 0) | 0x80;
    const frame = new Uint8Array(header.length + mask.length + bytes.byteLength);
    frame.set([...header, ...mask]);
    frame.set(bytes, header.length + mask.length);
    applyMask(frame.subarray(header.length + mask.length), mask);
    await this.write(frame);
  }

  /** Writes a close frame. */
  async closeFrame(code: number, reason = ""): Promise<void> {
    const text = new TextEncoder().encode(reason);
    await this.frame(CLOSE, new Uint8Array([code >> 8, code & 255, ...text]));
  }

  /** Echoes one message. */
  async echoOne(): Promise<void> {
    const { opcode, payload } = await this.readFrame();
    await this.frame(opcode, payload);
  }

  /** Waits for the client's close frame and echoes its payload. */
  async answerClose(): Promise<RawFrame> {
    const frame = await this.readFrame();
    await this.frame(CLOSE, frame.payload);
    return frame;
  }

  /** Neither reads nor writes, until the peer is stopped. */
  untilStopped(): Promise<void> {
    return this.#stopped.promise;
  }

  /** Reads and discards until the client is gone. */
  async untilGone(): Promise<void> {
    while (true) {
      this.#start = this.#end = 0;
      await this.#readMore();
    }
  }

  /** Reads until the peer ends the connection. */
  async readToEnd(): Promise<Uint8Array<ArrayBuffer>> {
    while (await this.#readSome()) {
      // All bytes are kept.
    }
    return this.#take(this.#end - this.#start);
  }

  /** Reads and discards until the peer ends the connection. */
  async forget(): Promise<void> {
    const buffer = new Uint8Array(65536);
    while (await this.#connection.read(buffer) !== null);
  }

  /** Ends this side of the connection. */
  closeWrite(): Promise<void> {
    return this.#connection.closeWrite();
  }

  /** Forwards received bytes to another socket, until either is gone. */
  async pipeTo(other: RawSocket): Promise<void> {
    try {
      while (true) {
        if (this.#start === this.#end) await this.#readMore();
        await other.write(await this.#take(this.#end - this.#start));
      }
    } catch {
      other.close();
    }
  }

  async write(data: string | Uint8Array): Promise<void> {
    const bytes = typeof data === "string" ? new TextEncoder().encode(data) : data;
    for (let at = 0; at < bytes.byteLength;) at += await this.#connection.write(bytes.subarray(at));
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#stopped.resolve();
    this.#connection.close();
  }

  async #take(length: number): Promise<Uint8Array<ArrayBuffer>> {
    while (this.#end - this.#start < length) await this.#readMore();
    const taken = this.#buffer.slice(this.#start, this.#start + length);
    this.#start += length;
    if (this.#start === this.#end) this.#start = this.#end = 0;
    return taken;
  }

  async #readMore(): Promise<void> {
    if (!await this.#readSome()) throw new Error("The client is gone");
  }

  /** Reads into the free space of the buffer, which doubles, so that each byte is copied only a few times. */
  async #readSome(): Promise<boolean> {
    if (this.#end === this.#buffer.byteLength) {
      const unread = this.#buffer.subarray(this.#start, this.#end);
      const larger = new Uint8Array(Math.max(this.#buffer.byteLength, 2 * unread.byteLength));
      larger.set(unread);
      this.#buffer = larger;
      this.#end -= this.#start;
      this.#start = 0;
    }
    const length = await this.#connection.read(this.#buffer.subarray(this.#end));
    if (length === null) return false;
    this.#end += length;
    return true;
  }
}

/** Masks or unmasks in place; an empty mask changes nothing. */
function applyMask(bytes: Uint8Array, mask: ArrayLike<number>): void {
  if (mask.length === 0) return;
  for (let at = 0; at < bytes.byteLength; at++) bytes[at] = (bytes[at] ?? 0) ^ (mask[at & 3] ?? 0);
}
