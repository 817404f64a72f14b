/** The settings of a command line, and its messages. */

import { CLIENT_OPTIONS, type ClientSettings, readClientSettings } from "../../lib/cli/client_settings.ts";
import { parseCommandLine } from "../../lib/cli/command_line.ts";
import type { Message } from "../../lib/protocol/message.ts";

export function settingsFor(args: readonly string[]): Promise<ClientSettings> {
  return readClientSettings(parseCommandLine(args, CLIENT_OPTIONS));
}

export async function messagesFor(args: readonly string[]): Promise<Message[]> {
  const { exchange } = await settingsFor(args);
  return await Array.fromAsync(exchange.messages ?? []);
}

/** The properties of an object that another one has too. */
export function sameProperties(object: object, others: object): Record<string, unknown> {
  return Object.fromEntries(Object.keys(others).map((name) => [name, Reflect.get(object, name)]));
}
