// Sends random messages and compares the echoes; plain JavaScript, for Deno, Node, Bun and a browser alike.

const MAX_BYTES = 1024 * 1024;
/** The most pending messages. */
const DEPTH = 16;

/** Reproducible random numbers from 0 to less than 1 (mulberry32). @param {number} seed */
export function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Messages of 0 to 1 MiB, mostly small: text and binary, more and less compressible. @param {number} seed */
export function messagesOf(seed) {
  const random = randomOf(seed);
  const noise = new Uint8Array(2 * MAX_BYTES).map(() => random() * 256);
  const words = ["Hello", " world ", '{"id":', "é€😀", "\u0000", "}\n", "0", "aaaaaaaaaaaaaaaa", '"name": "', "ß"];
  let text = "";
  while (text.length < 2 * MAX_BYTES) {
    text += random() < 0.2 ? Math.floor(random() * 1e9) : words[Math.floor(random() * words.length)];
  }
  const flat = new Uint8Array(2 * MAX_BYTES).map((_, index) => index >> 12);
  return () => {
    const size = random() < 0.03 ? 0 : Math.floor(2 ** (20 * random() ** 1.5));
    const at = Math.floor(random() * (MAX_BYTES - 1));
    const kind = random();
    if (kind < 0.3) return noise.slice(at, at + size);
    if (kind < 0.5) return flat.slice(at, at + size);
    // A third as many characters may take 1 MiB in UTF-8.
    return text.slice(at, at + (size > MAX_BYTES / 3 ? size / 3 : size)).toWellFormed();
  };
}

/** @param {string | Uint8Array} expected @param {string | Uint8Array} found */
function isSame(expected, found) {
  if (typeof expected === "string" || typeof found === "string") return expected === found;
  return expected.byteLength === found.byteLength && expected.every((byte, index) => byte === found[index]);
}

/**
 * Sends random messages, and compares each with its echo.
 *
 * @param {{ send(message: string | Uint8Array): unknown; onMessage(take: (message: string | Uint8Array) => void): void }} socket
 * @param {number} count
 * @param {number} seed
 * @returns {Promise<{ messages: number; bytes: number }>} The totals of correct echoes.
 */
export function drive(socket, count, seed) {
  const next = messagesOf(seed);
  const waiting = [];
  let [sent, messages, bytes] = [0, 0, 0];
  return new Promise((resolve, reject) => {
    const fill = async () => {
      while (sent < count && waiting.length < DEPTH) {
        const message = next();
        sent++;
        waiting.push(message);
        await socket.send(message);
      }
    };
    let filling = Promise.resolve();
    socket.onMessage((message) => {
      const expected = waiting.shift();
      if (expected === undefined || !isSame(expected, message)) {
        reject(new Error(`Message ${messages + 1} of the seed ${seed} came back changed`));
        return;
      }
      messages++;
      bytes += message.byteLength ?? message.length;
      if (messages === count) resolve({ messages, bytes });
      else filling = filling.then(fill, reject);
    });
    filling = fill();
    filling.catch(reject);
  });
}

/**
 * The same over a WebSocket of a browser or Bun.
 *
 * @param {string} url
 * @param {number} count
 * @param {number} seed
 */
export function driveWebSocket(url, count, seed) {
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    socket.onclose = ({ code, reason }) => reject(new Error(`Closed with ${code} ${reason}`));
    socket.onopen = () => {
      const { extensions } = socket;
      const channel = {
        send: (message) => socket.send(message),
        onMessage: (take) => {
          socket.onmessage = ({ data }) => take(typeof data === "string" ? data : new Uint8Array(data));
        },
      };
      drive(channel, count, seed).then((figures) => {
        socket.onclose = () => resolve({ ...figures, extensions });
        socket.close(1000);
      }, reject);
    };
  });
}
