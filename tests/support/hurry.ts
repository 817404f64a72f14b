/** Shortens the intervals of a process to a thousandth, for `deno run --preload`: no test waits for 30 s. */

const { setInterval: every } = globalThis;

Object.assign(globalThis, { setInterval: (callback: () => void, ms = 0) => every(callback, Math.max(1, ms / 1000)) });
