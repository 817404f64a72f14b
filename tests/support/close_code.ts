/** The close code that a peer is told. */

import { CLOSE, type RawSocket } from "./raw_peer.ts";

/** The close code of the next close frame; echoes before it are left out. */
export async function closeCodeOf(socket: RawSocket): Promise<number> {
  while (true) {
    const { opcode, payload } = await socket.readFrame();
    if (opcode === CLOSE) return new DataView(payload.buffer).getUint16(0);
  }
}
