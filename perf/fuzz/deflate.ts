/**
 * Random compressed messages between our ends and others: npm ws, Python's websockets and Bun in both roles, Chromium
 * as the client of our server. Every echo is compared with its message. The count applies to each direction in each
 * role of a peer, shared among the parameter sets.
 *
 *     deno task perf:fuzz:deflate --count 20000 --peers ws,python,chromium,bun [--bun PATH]
 */

import { conclude, readSettings } from "./harness.ts";
import { relations } from "./deflate/relations.ts";

function valueOf(args: readonly string[], name: string): string | undefined {
  const at = args.indexOf(name);
  return at === -1 ? undefined : args[at + 1];
}

async function main(args: readonly string[]): Promise<number> {
  const { count, seed } = readSettings(args, 20_000);
  const peers = (valueOf(args, "--peers") ?? "ws,python,chromium").split(",");
  const chosen = relations(valueOf(args, "--bun")).filter(({ peer }) => peers.includes(peer));
  const roleOf = ({ peer, name }: { peer: string; name: string }) => `${peer} ${name.split(" ").slice(0, 2).join(" ")}`;
  const since = performance.now();
  const found: string[] = [];
  const totals = new Map<string, { messages: number; bytes: number }>();
  for (const [index, relation] of chosen.entries()) {
    const role = roleOf(relation);
    const sets = chosen.filter((other) => roleOf(other) === role).length;
    const began = performance.now();
    try {
      const { messages, bytes, extensions } = await relation.run(Math.ceil(count / sets), seed + index);
      if (extensions === "") throw new Error("nothing was negotiated");
      const { messages: before, bytes: bytesBefore } = totals.get(role) ?? { messages: 0, bytes: 0 };
      totals.set(role, { messages: before + messages, bytes: bytesBefore + bytes });
      const seconds = ((performance.now() - began) / 1000).toFixed(1);
      console.log(`${relation.name}: ${messages} messages each way in ${seconds} s, ${extensions}`);
    } catch (error) {
      found.push(`${relation.name}: ${error}`);
    }
  }
  for (const [role, { messages, bytes }] of totals) {
    console.log(`${role}: ${messages} messages each way, ${(bytes / 1024 ** 2).toFixed(0)} MiB, no difference`);
  }
  return conclude("deflate", chosen.length, since, found);
}

if (import.meta.main) Deno.exit(await main(Deno.args));
