/**
 * All cases.
 *
 * @module
 */

import type { Case } from "../case.ts";
import { CLOSE } from "./close.ts";
import { CONTROL } from "./control.ts";
import { DEFLATE } from "./deflate.ts";
import { FRAGMENTS } from "./fragments.ts";
import { FRAMING } from "./framing.ts";
import { HANDSHAKE } from "./handshake.ts";
import { SIZES } from "./sizes.ts";
import { UTF8 } from "./utf8.ts";

/** Every case, group by group. */
export const CASES: readonly Case[] = [
  ...HANDSHAKE,
  ...FRAMING,
  ...CONTROL,
  ...FRAGMENTS,
  ...UTF8,
  ...CLOSE,
  ...SIZES,
  ...DEFLATE,
];
