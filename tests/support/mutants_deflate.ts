/** The faults of compressing mutant servers, each with exactly the cases that must catch it. */

import { constants, deflateRawSync } from "node:zlib";
import type { DeflateFault } from "./mutant_deflate.ts";
import type { Fault } from "./mutant_server.ts";

/** A fault with the cases that catch it. */
export interface DeflateMutation extends Fault {
  /** The server's fault, in a few words. */
  readonly name: string;
  /** The cases that catch it. */
  readonly caughtBy: RegExp;
  /** The fault of its compression. */
  readonly deflate: DeflateFault;
}

/** Cases that expect an echo. */
const ECHO =
  /one-frame|\/fragments|\/context|stored|final-block|two-blocks|\/empty|uncompressed|binary|text-1mib|hundred|server-no-context$|server-window/;

function compressed(payload: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(deflateRawSync(payload, { finishFlush: constants.Z_SYNC_FLUSH })).slice(0, -4);
}

const AGAIN = Uint8Array.of(0xf2, 0, 0x11, 0, 0);

/** All mutations. */
export const DEFLATE_MUTATIONS: readonly DeflateMutation[] = [
  { name: "forgets the context", caughtBy: /\/context/, deflate: { ignores: ["context"] } },
  { name: "ends its stream at a final block", caughtBy: /final-block/, deflate: { ignores: ["final-block"] } },
  {
    name: "accepts RSV1 in the middle of a message",
    caughtBy: /rsv1-continuation/,
    deflate: { ignores: ["rsv1-place"] },
  },
  { name: "accepts a compressed ping", caughtBy: /rsv1-ping/, deflate: { ignores: ["rsv1-control"] } },
  { name: "accepts RSV2", caughtBy: /6\/rsv2/, deflate: { ignores: ["rsv2"] } },
  { name: "ignores data that it cannot inflate", caughtBy: /bad-block|bad-distance/, deflate: { ignores: ["damage"] } },
  { name: "does not check UTF-8 of compressed text", caughtBy: /bad-utf8/, deflate: { ignores: ["utf8"] } },
  {
    name: "inflates uncompressed messages",
    caughtBy: /uncompressed|server-no-context$|server-window/,
    deflate: { ignores: ["plain"] },
  },
  {
    name: "does not inflate",
    caughtBy: /7\.2\.3\.(?!6)|7\.2\.3\.6|6\/(uncompressed|binary|text|hundred)|bad-block/,
    deflate: { ignores: ["inflate"] },
  },
  { name: "accepts every offer", caughtBy: /declines-/, deflate: { ignores: ["offers"] } },
  {
    name: "accepts server_no_context_takeover in silence",
    caughtBy: /offer-server-no-context/,
    deflate: { ignores: ["server_no_context_takeover"] },
  },
  {
    name: "accepts server_max_window_bits in silence",
    caughtBy: /offer-server-(max|no-context-and)/,
    deflate: { ignores: ["server_max_window_bits"] },
  },
  {
    name: "answers with a window for a client that did not offer one",
    caughtBy: /offer-(plain|client-no|two|three)/,
    deflate: { adds: "client_max_window_bits=10" },
  },
  {
    name: "answers with a larger window for the client",
    caughtBy: /offer-(plain|client-(no|max-window-bits-10)|two|three)/,
    deflate: { adds: "client_max_window_bits=15" },
  },
  {
    name: "answers with an undefined parameter",
    caughtBy: /offer-(plain|client-no|client-max-window-bits$|two|three)/,
    deflate: { adds: "x-strange" },
  },
  {
    name: "refers to the previous message although it agreed not to",
    caughtBy: /server-no-context$/,
    deflate: {},
    frame: (frame) => [frame.payload.byteLength === 26 ? { ...frame, payload: AGAIN, reserved: 4 } : frame],
  },
  {
    name: "refers further back than its window",
    caughtBy: /server-window/,
    deflate: {},
    frame: (
      frame,
    ) => [frame.payload.byteLength === 2048 ? { ...frame, payload: compressed(frame.payload), reserved: 4 } : frame],
  },
  {
    name: "sets RSV1 and compresses nothing",
    caughtBy: ECHO,
    deflate: {},
    frame: (frame) => [frame.opcode <= 2 ? { ...frame, payload: Uint8Array.of(7), reserved: 4 } : frame],
  },
];
