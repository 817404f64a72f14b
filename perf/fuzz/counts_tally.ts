/** Totals for the fuzzer of counts: each is known exactly, or to lie in a range. */

/** Names of totals that only our own frames have. */
const OF_WIRE = new Set(["received", "sent"]);

/** Totals by name. */
export class Tally {
  readonly #ranges = new Map<string, { least: number; most: number }>();

  /** Adds to a total, and perhaps some more. */
  add(name: string, count: number, perhaps = 0): void {
    const range = this.#ranges.get(name) ?? { least: 0, most: 0 };
    this.#ranges.set(name, { least: range.least + count, most: range.most + count + perhaps });
  }

  addAll(other: Tally): void {
    for (const [name, { least, most }] of other.#ranges) this.add(name, least, most - least);
  }

  least(name: string): number {
    return this.#ranges.get(name)?.least ?? 0;
  }

  /** Sum of the totals whose names begin with this. */
  sum(prefix: string): number {
    let sum = 0;
    for (const [name, { least }] of this.#ranges) if (name.startsWith(prefix)) sum += least;
    return sum;
  }

  /** Adds an event of the log. */
  addLine(event: Record<string, unknown>): void {
    if (event.type === "opened") this.add("opened", 1);
    if (event.type === "refused") this.add(`refused ${event.cause}`, 1);
    if (event.type === "trouble" || event.type === "dropped") this.add(`${event.type}`, 1);
    if (event.type !== "closed") return;
    this.add("closed", 1);
    this.add("messages", Number(event.messages));
    this.add("bytes", Number(event.bytes));
    if (typeof event.wire !== "object" || event.wire === null) return;
    for (const [name, count] of Object.entries(event.wire)) this.add(name, Number(count));
  }

  /** Reads the answer of `/metrics`. */
  static ofMetrics(text: string): Tally {
    const tally = new Tally();
    for (const [, name = "", labels = "", value] of text.matchAll(/^(wsproof_\w+)(?:\{(.*)\})? (\d+)$/gm)) {
      const [first = "", second = ""] = [...labels.matchAll(/"([^"]*)"/g)].map(([, label]) => label);
      const short = NAMES[name]?.(first, second);
      if (short !== undefined) tally.add(short, Number(value));
    }
    return tally;
  }

  /** The totals that lie outside of the expected ranges, where both sides know them. */
  outside(expected: Tally, isWire: boolean): string[] {
    const found: string[] = [];
    const isLog = this.#ranges.has("opened") || !this.#ranges.has("accepted");
    for (const name of new Set([...this.#ranges.keys(), ...expected.#ranges.keys()])) {
      if ((OF_WIRE.has(name) && !isWire) || (isLog ? /^(accepted|closed .*|closed|opened)$/ : /^open$/).test(name)) {
        continue;
      }
      const { least, most } = expected.#ranges.get(name) ?? { least: 0, most: 0 };
      const count = this.least(name);
      if (count < least || count > most) {
        found.push(`${name} is ${count}, not ${least}${most > least ? ` to ${most}` : ""}`);
      }
    }
    return found;
  }
}

/** The totals of `/metrics` by the names here. */
const NAMES: Record<string, (first: string, second: string) => string> = {
  wsproof_connections: () => "open",
  wsproof_connections_accepted_total: () => "accepted",
  wsproof_messages_total: () => "messages",
  wsproof_message_bytes_total: () => "bytes",
  wsproof_wire_bytes_total: (direction) => direction === "receive" ? "received" : "sent",
  wsproof_closes_total: (code, initiator) => `closed ${code} ${initiator}`,
  wsproof_refusals_total: (cause) => `refused ${cause}`,
  wsproof_troubles_total: () => "trouble",
  wsproof_log_dropped_lines_total: () => "dropped",
};
