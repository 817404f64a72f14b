/**
 * Stand-in for `@std/http/negotiation` where JSR cannot be reached.
 *
 * @module
 */

/**
 * Picks the media type that a request prefers (RFC 9110 section 12.5.1).
 *
 * @param request The request; only its field Accept counts.
 * @param types The available types, best first.
 * @returns The type; `undefined` if none is accepted; the first without a preference.
 */
export function accepts<T extends string>(request: Pick<Request, "headers">, ...types: T[]): T | undefined {
  const field = request.headers.get("accept");
  if (!field) return types[0];
  const ranges = field.split(",").map(parseRange);
  const ranked = types
    .map((type) => ({ type, weight: weightOf(type, ranges) }))
    .filter(({ weight }) => weight.quality > 0)
    .sort((a, b) => b.weight.quality - a.weight.quality || b.weight.precision - a.weight.precision);
  return ranked[0]?.type;
}

interface MediaRange {
  readonly range: string;
  readonly quality: number;
}

interface Weight {
  readonly quality: number;
  /** 2 for the type itself, 1 for `type/*`, 0 for `*` over `*`. */
  readonly precision: number;
}

function parseRange(text: string): MediaRange {
  const [range = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const quality = parameters.find((parameter) => parameter.startsWith("q="));
  return { range, quality: quality === undefined ? 1 : Number(quality.slice(2)) || 0 };
}

/** The most precise range that covers a type decides. */
function weightOf(type: string, ranges: readonly MediaRange[]): Weight {
  const covering = [type, `${type.split("/")[0]}/*`, "*/*"];
  for (const [index, covers] of covering.entries()) {
    const found = ranges.find(({ range }) => range === covers);
    if (found) return { quality: found.quality, precision: 2 - index };
  }
  return { quality: 0, precision: 0 };
}
