/**
 * A room: your own handler behind the policy of the built-in front door, where each text goes to everybody else.
 *
 * ```sh
 * deno run $(deno task -q std:flags) --allow-net examples/room.ts 6455
 * ```
 */

import { Gatekeeper } from "../lib/server/mod.ts";

/** A peer with more pending bytes than this does not read, and leaves the room: 1 MiB. */
const MAX_WAITING_BYTES = 1024 * 1024;

/** A peer that does not open in time loses its place: 3 s. */
const OPEN_TIMEOUT_MS = 3000;

// The gatekeeper answers wrong handshakes, foreign hosts and origins, and counts the places.
const gate = new Gatekeeper({ allowHosts: ["localhost", "127.0.0.1"], maxConnections: 100, protocols: ["room"] });
const members = new Set<WebSocket>();

function tellOthers(from: WebSocket, text: string): void {
  for (const member of members) {
    if (member === from) continue;
    if (member.bufferedAmount > MAX_WAITING_BYTES) {
      members.delete(member);
      member.close(1008, "does not read");
    } else if (member.readyState === WebSocket.OPEN) {
      member.send(text);
    }
  }
}

function enter(request: Request, { remoteAddr }: Deno.ServeHandlerInfo): Response | Promise<Response> {
  const admission = gate.admit(request, remoteAddr);
  if (admission.type === "answered") return admission.response;
  const { opened } = admission;
  const { socket, response } = Deno.upgradeWebSocket(request);
  if (opened.protocol !== "") response.headers.set("sec-websocket-protocol", opened.protocol);
  const leave = () => {
    members.delete(socket);
    gate.leave(opened.id);
  };
  // The runtime reports no event for a peer that vanishes before its socket opens.
  setTimeout(() => socket.readyState === WebSocket.CONNECTING && leave(), OPEN_TIMEOUT_MS);
  socket.onopen = () => members.add(socket);
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") tellOthers(socket, data);
    else socket.close(1003, "text only");
  };
  socket.onclose = leave;
  return response;
}

Deno.serve({
  hostname: "127.0.0.1",
  port: Number(Deno.args[0] ?? 6455),
  onListen: ({ port }) => console.log(`Listening on ws://127.0.0.1:${port}/`),
}, enter);
