/** Reads the close code that a peer receives. */

import { CLOSE, type RawSocket } from "./raw_peer.ts";

/** The code of the next close frame, after any echoes. */
export async function closeCodeOf(socket: RawSocket): Promise<number> {
  while (true) {
    const { opcode, payload } = await socket.readFrame();
    if (opcode === CLOSE) return new DataView(payload.buffer).getUint16(0);
  }
}
