/** Requests by hand to both front doors, and the answers. */

import { assertMatch } from "@std/assert";
import type { TransportName } from "../../lib/connection/connection.ts";
import { connectRaw } from "./raw_peer.ts";

/** The whole answer of each front door; the date comes from `shown`. */
export function answer(
  transport: TransportName,
  status: string,
  fields: Record<string, string>,
  body: string,
  shown: string,
): string {
  const date = /\r\ndate: ([^\r]+)/.exec(shown)?.[1] ?? "";
  assertMatch(date, /^\w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT$/);
  const all: [string, string][] = Object.entries({
    "cache-control": "no-store",
    "content-type": "text/plain; charset=utf-8",
    ...fields,
  });
  const sorted = all.sort(([a], [b]) => a < b ? -1 : 1);
  const length: [string, string] = ["content-length", `${body.length}`];
  const lines = transport === "builtin" ? [...sorted, length, ["date", date]] : [
    ...sorted.filter(([name]) => name !== "connection"),
    // Over our own frames each connection takes one request, and announces that.
    ["connection", fields["connection"] ? `${fields["connection"]}, close` : "close"],
    length,
    ["date", date],
  ];
  return `HTTP/1.1 ${status}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${body}`;
}

/** Sends a head and reads the whole answer. */
export async function exchangeHeads(url: string, head: string): Promise<string> {
  const socket = await connectRaw(url);
  await socket.write(head);
  const answered = await socket.readHead();
  const length = Number(/\r\ncontent-length: (\d+)/.exec(answered)?.[1] ?? 0);
  const text = `${answered}\r\n\r\n${new TextDecoder().decode(await socket.readBytes(length))}`;
  socket.close();
  return text;
}
