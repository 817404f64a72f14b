/**
 * Those who come and go: the connections of a server.
 *
 * @module
 */

/**
 * A set whose members come and go by the thousand, in no order. Each has a place, by which it leaves.
 *
 * A `Set` or `Map` would keep them too long: it copies itself once in as many additions as it has room for, and the former copies
 * hold one another and all who were in them until a full garbage collection. Of each connection that had ended 7 KiB stayed; to
 * copy them was a sixth of the time of a new connection.
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

  /** How many there are. */
  get size(): number {
    return this.#places.length - this.#free.length;
  }

  /**
   * One more comes.
   *
   * @param member Who: not `undefined`.
   * @returns The place, for {@linkcode remove}.
   */
  add(member: Member): number {
    const place = this.#free.pop() ?? this.#places.length;
    this.#places[place] = member;
    return place;
  }

  /**
   * One leaves. The place is the next one's.
   *
   * @param place The place, as {@linkcode add} gave it.
   * @param member Who.
   * @returns Whether they were there.
   */
  remove(place: number, member: Member): boolean {
    if (this.#places[place] !== member) return false;
    this.#places[place] = undefined;
    this.#free.push(place);
    return true;
  }

  /**
   * One takes the place of another.
   *
   * @param place The place, as {@linkcode add} gave it.
   * @param member Who has it from now on: not `undefined`.
   */
  replace(place: number, member: Member): void {
    this.#places[place] = member;
  }

  /** Goes through them; who comes meanwhile may be left out. */
  *[Symbol.iterator](): Generator<Member> {
    for (const member of this.#places) if (member !== undefined) yield member;
  }
}
