/** Prints the entry points of the library, from `exports` of deno.json, for other commands. */

const { exports } = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url)));
console.log(Object.values(exports).join(" "));
