/**
 * The plot of the round trips.
 */

import { byId, describeMs, svg } from "./text.js";

/** The latest round trips, in milliseconds, oldest first. @type {number[]} */
let trips = [];

/** Shows one more. @param {number} ms */
export function addTrip(ms) {
  showTrips([...trips, ms].slice(-MAX_TRIPS));
}

/** Shows none. */
export function clearTrips() {
  showTrips([]);
}

/** How many round trips the plot shows. */
const MAX_TRIPS = 60;

/** Top of the plot, as a multiple of the upper quartile: a few slow round trips must not flatten the others. */
const PLOT_HEADROOM = 3;

/**
 * Draws the round trips as bars, with their median as a line.
 * @param {number[]} latest
 */
function showTrips(latest) {
  trips = latest;
  const plot = byId("plot", SVGSVGElement);
  const { width, height } = plot.viewBox.baseVal;
  const sorted = trips.toSorted((a, b) => a - b);
  const most = sorted.at(-1) ?? 0;
  const median = percentile(sorted, 0.5);
  const top = niceAbove(Math.min(most, percentile(sorted, 0.75) * PLOT_HEADROOM));
  const step = width / MAX_TRIPS;
  const bars = trips.map((ms, index) => {
    const tall = Math.max(1, Math.min(1, ms / top) * height);
    const box = { x: index * step + 1, y: height - tall, width: step - 2, height: tall };
    return svg("rect", { class: ms > top ? "bar over" : "bar", ...box });
  });
  const lines = [["grid", top / 2], ["median", median]].map(([name = "", ms]) => {
    const y = height - Number(ms) / top * height;
    return svg("line", { class: name, x1: 0, x2: width, y1: y, y2: y });
  });
  plot.replaceChildren(...lines.slice(0, 1), ...bars, ...lines.slice(1));
  byId("axis-top", HTMLElement).textContent = `${top} ms`;
  byId("axis-middle", HTMLElement).textContent = `${top / 2} ms`;
  byId("plot-empty", HTMLElement).hidden = trips.length > 0;
  byId("plot-area", HTMLElement).hidden = trips.length === 0;
  const over = trips.filter((ms) => ms > top).length;
  const facts = Object.entries({
    min: sorted[0] ?? 0,
    median,
    p90: percentile(sorted, 0.9),
    p99: percentile(sorted, 0.99),
  })
    .map(([name, ms]) => `${name} ${describeMs(ms)}`);
  byId("plot-summary", HTMLElement).textContent = trips.length === 0
    ? ""
    : `Last ${trips.length}, in milliseconds, the newest on the right: ${facts.join(", ")}, max ${describeMs(most)}. ` +
      `Dashed: the median.${over > 0 ? ` Red: ${over} beyond the plot.` : ""}`;
}

/** By the nearest rank. @param {number[]} sorted @param {number} share */
function percentile(sorted, share) {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** The next of 1, 2, 5, 10, 20 ... @param {number} value */
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 0.01)));
  const nice = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= value) ?? 10 * power;
  return Number(nice.toPrecision(1));
}
