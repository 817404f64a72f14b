/**
 * A set with cheap additions and removals, for the connections of a server.
 *
 * @module
 */

/**
 * An unordered set whose members come and go by the thousand. Members leave by their place.
 *
 * A `Set` or `Map` would hold members too long: additions copy a full table, and the former tables hold one another and
 * all of their members until a full garbage collection. Each ended connection left 7 KiB behind, and copying took a
 * sixth of the time of a new connection.
 *
 * @example
 * ```ts
 * import { Members } from "./members.ts";
 * import { assertEquals } from "@std/assert";
 *
 * const members = new Members<string>();
 * const place = members.add("a");
 * members.add("b");
 * assertEquals([members.remove(place, "a"), members.remove(place, "a")], [true, false]);
 * members.replace(1, "c");
 * assertEquals([[...members], members.size], [["c"], 1]);
 * ```
 */
export class Members<Member> implements Iterable<Member> {
  readonly #places: (Member | undefined)[] = [];
  readonly #free: number[] = [];

  /** Number of members. */
  get size(): number {
    return this.#places.length - this.#free.length;
  }

  /**
   * Adds a member.
   *
   * @param member The member, not `undefined`.
   * @returns The place, for {@linkcode remove}.
   */
  add(member: Member): number {
    const place = this.#free.pop() ?? this.#places.length;
    this.#places[place] = member;
    return place;
  }

  /**
   * Removes a member, and frees the place for the next.
   *
   * @param place The place from {@linkcode add}.
   * @param member The member.
   * @returns Whether the member was there.
   */
  remove(place: number, member: Member): boolean {
    if (this.#places[place] !== member) return false;
    this.#places[place] = undefined;
    this.#free.push(place);
    return true;
  }

  /**
   * Replaces a member.
   *
   * @param place The place from {@linkcode add}.
   * @param member The new member, not `undefined`.
   */
  replace(place: number, member: Member): void {
    this.#places[place] = member;
  }

  /** Iterates over the members; one added meanwhile may be missing. */
  *[Symbol.iterator](): Generator<Member> {
    for (const member of this.#places) if (member !== undefined) yield member;
  }
}
