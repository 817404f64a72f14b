/** A certificate and its key: the same check for client and server. */

import { assertEquals } from "@std/assert";
import { pairProblem } from "../../lib/net/certificate.ts";
import { createAuthority } from "../support/certificates.ts";

const authority = await createAuthority();
const [one, other] = [await authority.sign("one"), await authority.sign("other")];
const DAMAGED_KEY = "the key is damaged, encrypted, or of a kind that is not supported";
const junk = (label: string) => `-----BEGIN ${label}-----\nAA==\n-----END ${label}-----\n`;

Deno.test("pairProblem() is undefined, when the key belongs to the certificate", () => {
  assertEquals(pairProblem(one), undefined);
});

Deno.test("pairProblem() is undefined, when other certificates of the chain follow", () => {
  assertEquals(pairProblem({ ...one, cert: one.cert + authority.cert }), undefined);
});

for (
  const [what, pair, reason] of [
    ["the key is another's", { ...one, key: other.key }, "the key does not belong to the certificate"],
    [
      "the authority comes first",
      { ...one, cert: authority.cert + one.cert },
      "the key does not belong to the certificate",
    ],
    ["the certificate is junk", { ...one, cert: junk("CERTIFICATE") }, "the certificate is damaged"],
    ["the key is junk", { ...one, key: junk("PRIVATE KEY") }, DAMAGED_KEY],
    ["the EC key is junk", { ...one, key: junk("EC PRIVATE KEY") }, DAMAGED_KEY],
    ["the certificate is empty", { ...one, cert: "" }, "No certificates found in certificate data"],
    ["the key is empty", { ...one, key: "" }, "No keys found in key data"],
  ] as const
) {
  Deno.test(`pairProblem() says "${reason}", when ${what}`, () => {
    assertEquals(
      pairProblem(pair),
      `Cannot use the certificate and its key: ${reason}; give --cert and --key PEM files that belong together`,
    );
  });
}
