/** A lab on a free port, and its events. */

import { startLab as open, type StartLabOptions } from "../../lib/lab/lab.ts";
import type { EchoClosed, EchoEvent, EchoOpened, EchoRefused } from "../../lib/server/policy.ts";
import type { RawSocket } from "./raw_peer.ts";
import { requestHead } from "./raw_peer.ts";

/** A lab that records its events; dispose of it to stop it. */
export async function startLab(options: StartLabOptions = {}) {
  const opened = Promise.withResolvers<EchoOpened>();
  const closed = Promise.withResolvers<EchoClosed>();
  const refused = Promise.withResolvers<EchoRefused>();
  const onEvent = (event: EchoEvent) => {
    if (event.type === "opened") opened.resolve(event);
    if (event.type === "closed") closed.resolve(event);
    if (event.type === "refused") refused.resolve(event);
  };
  const lab = await open({ port: 0, onEvent, ...options });
  return {
    ...lab,
    opened: opened.promise,
    closed: closed.promise,
    refused: refused.promise,
    [Symbol.asyncDispose]: async () => void await lab.shutdown(),
  };
}

/** Asks for the upgrade at a path; returns the head of the answer. */
export async function handshake(
  socket: RawSocket,
  path: string,
  fields: Record<string, string | undefined> = {},
): Promise<string[]> {
  await socket.write(requestHead(fields, `GET ${path} HTTP/1.1`));
  return (await socket.readHead()).split("\r\n");
}

/** The URL for plain HTTP. */
export function httpUrl(url: string, path = "/"): URL {
  return new URL(path, url.replace("ws:", "http:"));
}
