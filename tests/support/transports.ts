/** Runs a test over both transports, for their common behavior. */

import type { TransportName } from "../../lib/connection/connection.ts";

/** Both transports. */
export const TRANSPORTS: readonly TransportName[] = ["builtin", "wire"];

/** Registers a test for each transport, with the transport in its name. */
export function testBoth(
  name: string,
  test: (transport: TransportName) => Promise<void>,
  options: { ignore?: boolean } = {},
): void {
  for (const transport of TRANSPORTS) {
    Deno.test({ name: `${name} (${transport})`, fn: () => test(transport), ...options });
  }
}
