/** The negotiation of permessage-deflate (RFC 7692 section 7.1), by hand, at random, and beside npm `ws`. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import fc from "npm:fast-check@4.10.2";
import { extension, PerMessageDeflate } from "npm:ws@8.23.0";
import {
  chooseDeflate,
  DEFLATE,
  type DeflateParameters,
  type DeflateWish,
  formatDeflate,
  verifyDeflate,
} from "../../lib/protocol/deflate.ts";
import { parseExtensions } from "../../lib/protocol/extension.ts";

const WISH: DeflateWish = { takeover: true, windowBits: 15 };

/** A server's answer to an offer; the reason if it declines. */
function answerTo(offer: string, wish = WISH): string | undefined {
  const { agreement, declined } = chooseDeflate(parseExtensions(offer) ?? [], wish);
  return agreement?.text ?? declined.join("; ");
}

const ANSWERS: [offer: string, answer: string, wish?: DeflateWish][] = [
  ["", ""],
  ["x-webkit-deflate-frame", ""],
  [DEFLATE, DEFLATE],
  [`x-other, ${DEFLATE}`, DEFLATE],
  // Only the requested parameters.
  [`${DEFLATE}; client_max_window_bits`, DEFLATE],
  [`${DEFLATE}; client_max_window_bits`, `${DEFLATE}; client_max_window_bits=12`, { takeover: true, windowBits: 12 }],
  [`${DEFLATE}; client_max_window_bits=10`, `${DEFLATE}; client_max_window_bits=10`, {
    takeover: true,
    windowBits: 12,
  }],
  [DEFLATE, DEFLATE, { takeover: true, windowBits: 12 }],
  [`${DEFLATE}; client_max_window_bits=8`, `${DEFLATE}; client_max_window_bits=8`],
  [`${DEFLATE}; server_max_window_bits=9`, `${DEFLATE}; server_max_window_bits=9`],
  [`${DEFLATE}; server_max_window_bits=15`, `${DEFLATE}; server_max_window_bits=12`, {
    takeover: true,
    windowBits: 12,
  }],
  [`${DEFLATE}; server_no_context_takeover`, `${DEFLATE}; server_no_context_takeover`],
  [`${DEFLATE}; client_no_context_takeover`, `${DEFLATE}; client_no_context_takeover`],
  [DEFLATE, `${DEFLATE}; server_no_context_takeover; client_no_context_takeover`, { takeover: false, windowBits: 15 }],
  // Our compressor has no 8-bit window, so the next offer is tried.
  [
    `${DEFLATE}; server_max_window_bits=8`,
    "the parameter server_max_window_bits has 8, and zlib needs at least 9",
  ],
  [`${DEFLATE}; server_max_window_bits=8, ${DEFLATE}`, DEFLATE],
  [`${DEFLATE}; x`, 'the parameter "x" is not known'],
  [`${DEFLATE}; x, ${DEFLATE}; server_no_context_takeover`, `${DEFLATE}; server_no_context_takeover`],
  [
    `${DEFLATE}; server_no_context_takeover; server_no_context_takeover`,
    "the parameter server_no_context_takeover appears twice",
  ],
  [`${DEFLATE}; server_no_context_takeover=1`, "the parameter server_no_context_takeover has a value"],
  [`${DEFLATE}; client_no_context_takeover=true`, "the parameter client_no_context_takeover has a value"],
  [`${DEFLATE}; server_max_window_bits`, "the parameter server_max_window_bits has no value"],
  ...["7", "16", "08", "1e1", "0xa", "-8", "10.0"].flatMap((bits): [string, string][] =>
    ["server", "client"].map((side) => [
      `${DEFLATE}; ${side}_max_window_bits=${bits}`,
      `the parameter ${side}_max_window_bits has "${bits}", which is not 8 to 15`,
    ])
  ),
];

Deno.test("chooseDeflate() answers the request, or says why it declines", () => {
  for (const [offer, answer, wish] of ANSWERS) assertEquals(answerTo(offer, wish), answer, offer);
});

Deno.test("chooseDeflate() returns both directions of what it has answered", () => {
  const offer = `${DEFLATE}; server_max_window_bits=11; client_max_window_bits; client_no_context_takeover`;
  const { agreement } = chooseDeflate(parseExtensions(offer) ?? [], { takeover: true, windowBits: 12 });
  assertEquals([agreement?.client, agreement?.server], [
    { takeover: false, windowBits: 12 },
    { takeover: true, windowBits: 11 },
  ]);
});

Deno.test("chooseDeflate() silently compresses with at most the requested window", () => {
  const { agreement } = chooseDeflate([{ name: DEFLATE, parameters: [] }], { takeover: true, windowBits: 12 });
  assertEquals([agreement?.text, agreement?.server.windowBits, agreement?.client.windowBits], [DEFLATE, 12, 15]);
});

const PROBLEMS: [answer: string, offered: DeflateParameters | undefined, problem: string | undefined][] = [
  ["", undefined, undefined],
  ["", {}, undefined],
  [DEFLATE, {}, undefined],
  [DEFLATE, undefined, `the extension "${DEFLATE}" was not requested`],
  ["foo; x=1", {}, 'the extension "foo; x=1" was not requested'],
  [`${DEFLATE}, foo`, {}, 'the extension "foo" was not requested'],
  [`${DEFLATE}, ${DEFLATE}`, {}, `the extension ${DEFLATE} appears twice`],
  [`${DEFLATE};`, {}, `the field Sec-WebSocket-Extensions is malformed: "${DEFLATE};"`],
  [`${DEFLATE}; x=1`, {}, 'the parameter "x" is not known'],
  [`${DEFLATE}; server_no_context_takeover=1`, {}, "the parameter server_no_context_takeover has a value"],
  [
    `${DEFLATE}; client_no_context_takeover; client_no_context_takeover`,
    {},
    "the parameter client_no_context_takeover appears twice",
  ],
  // Both may come unasked (sections 7.1.1.2 and 7.1.2.1).
  [`${DEFLATE}; server_no_context_takeover; client_no_context_takeover`, {}, undefined],
  [`${DEFLATE}; server_max_window_bits=8`, {}, undefined],
  [`${DEFLATE}; server_max_window_bits`, {}, "the parameter server_max_window_bits has no value"],
  [`${DEFLATE}; server_max_window_bits=16`, {}, 'the parameter server_max_window_bits has "16", which is not 8 to 15'],
  [DEFLATE, { serverMaxWindowBits: 10 }, "the parameter server_max_window_bits was requested and is missing"],
  [`${DEFLATE}; server_max_window_bits=10`, { serverMaxWindowBits: 10 }, undefined],
  [
    `${DEFLATE}; server_max_window_bits=11`,
    { serverMaxWindowBits: 10 },
    "the parameter server_max_window_bits has 11, more than the requested 10",
  ],
  [DEFLATE, { serverNoContextTakeover: true }, "the parameter server_no_context_takeover was requested and is missing"],
  [`${DEFLATE}; client_max_window_bits=10`, {}, "the parameter client_max_window_bits was not requested"],
  [`${DEFLATE}; client_max_window_bits=10`, { clientMaxWindowBits: true }, undefined],
  [
    `${DEFLATE}; client_max_window_bits`,
    { clientMaxWindowBits: true },
    "the parameter client_max_window_bits has no value",
  ],
  [
    `${DEFLATE}; client_max_window_bits=11`,
    { clientMaxWindowBits: 10 },
    "the parameter client_max_window_bits has 11, more than the offered 10",
  ],
  [
    `${DEFLATE}; client_max_window_bits=8`,
    { clientMaxWindowBits: true },
    "the parameter client_max_window_bits has 8, and zlib needs at least 9",
  ],
];

Deno.test("verifyDeflate() accepts a valid answer, and says what is wrong with any other", () => {
  for (const [answer, offered, problem] of PROBLEMS) {
    const found = verifyDeflate(answer, offered);
    assertEquals(found.problem?.replace(`${DEFLATE}: `, ""), problem, `${answer} to ${JSON.stringify(offered)}`);
    assertEquals(found.agreement !== undefined, problem === undefined && answer !== "", answer);
  }
});

Deno.test("verifyDeflate() keeps the client to its own offer", () => {
  const offered = { clientMaxWindowBits: 10, clientNoContextTakeover: true };
  assertEquals(verifyDeflate(DEFLATE, offered).agreement?.client, { takeover: false, windowBits: 10 });
});

const bits = fc.integer({ min: 8, max: 15 });
const parameters: fc.Arbitrary<DeflateParameters> = fc.record({
  serverNoContextTakeover: fc.boolean(),
  clientNoContextTakeover: fc.boolean(),
  serverMaxWindowBits: fc.integer({ min: 9, max: 15 }),
  clientMaxWindowBits: fc.oneof(fc.integer({ min: 9, max: 15 }), fc.constant(true as const)),
}, { requiredKeys: [] });

Deno.test("verifyDeflate() accepts any answer of chooseDeflate(), and both ends agree", () => {
  const wish = fc.record({ takeover: fc.boolean(), windowBits: fc.integer({ min: 9, max: 15 }) });
  fc.assert(fc.property(parameters, wish, (offered, wanted) => {
    const chosen = chooseDeflate(parseExtensions(formatDeflate(offered)) ?? [], wanted).agreement;
    assert(chosen);
    const { agreement, problem } = verifyDeflate(chosen.text, offered);
    assertEquals(problem, undefined);
    assert(agreement);
    // Each compressor stays within the other end's window.
    assert(chosen.server.windowBits <= agreement.server.windowBits && chosen.server.windowBits <= wanted.windowBits);
    assert(agreement.client.windowBits <= chosen.client.windowBits);
    assert(
      chosen.server.takeover === agreement.server.takeover && chosen.client.takeover === agreement.client.takeover,
    );
  }));
});

/** Plausible parameters: repeated, unknown, with and without values. */
const written = fc.array(
  fc.tuple(
    fc.constantFrom(
      "server_no_context_takeover",
      "client_no_context_takeover",
      "server_max_window_bits",
      "client_max_window_bits",
      "server_max_window_bits",
      "client_max_window_bits",
      "x",
    ),
    fc.oneof(bits.map((value) => `=${value}`), fc.constantFrom("", "", "=7", "=16", "=x")),
  ).map(([name, value]) => name + (name.endsWith("takeover") && value !== "=x" ? "" : value)),
  { maxLength: 4 },
).map((names) => [DEFLATE, ...names].join("; "));

type Peer = { accept(list: unknown): Record<string, unknown> };

/** The reading of parameters by `ws`: a set of words, or `undefined` if it refuses them. */
function peerAccepts(peer: Peer, text: string): string[] | undefined {
  try {
    const accepted = peer.accept(extension.parse(text)[DEFLATE]);
    return Object.entries(accepted).map(([name, value]) => value === true ? name : `${name}=${value}`).sort();
  } catch {
    return undefined;
  }
}

function words(text: string | undefined): string[] | undefined {
  return text?.split("; ").slice(1).sort();
}

Deno.test("chooseDeflate() answers 20,000 random offers as npm ws does", () => {
  let accepted = 0;
  fc.assert(
    fc.property(written, (offer) => {
      const { agreement } = chooseDeflate(parseExtensions(offer) ?? [], WISH);
      const theirs = peerAccepts(new PerMessageDeflate({ isServer: true }), offer);
      // `ws` accepts a window that zlib cannot use, and repeats 15 bits, which need no words.
      if (offer.includes("server_max_window_bits=8")) return assertEquals(agreement, undefined);
      if (agreement) accepted++;
      assertEquals(words(agreement?.text), theirs?.filter((word) => word !== "client_max_window_bits=15"), offer);
    }),
    { numRuns: 20_000, seed: 7692 },
  );
  assert(accepted > 4000, `${accepted}`);
});

Deno.test("verifyDeflate() judges 20,000 random answers as npm ws does", () => {
  let accepted = 0;
  const offers = fc.oneof(fc.constant(undefined), fc.constant(true as const), fc.integer({ min: 9, max: 15 }));
  fc.assert(
    fc.property(written, offers, (answer, offered) => {
      const { agreement, problem } = verifyDeflate(
        answer,
        offered === undefined ? {} : { clientMaxWindowBits: offered },
      );
      const theirs = peerAccepts(new PerMessageDeflate({ clientMaxWindowBits: offered ?? false }), answer);
      // Here too zlib would use 9 instead of 8.
      if (theirs !== undefined && answer.includes("client_max_window_bits=8")) {
        return assertStringIncludes(problem ?? "", "zlib");
      }
      if (agreement) accepted++;
      assertEquals(agreement !== undefined, theirs !== undefined, `${answer}: ${problem}`);
    }),
    { numRuns: 20_000, seed: 7692 },
  );
  assert(accepted > 4000, `${accepted}`);
});
