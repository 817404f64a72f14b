/**
 * Runs the compile task as far as possible without the network, and checks the embedded files. The executable gets Deno
 * itself for a runtime, so it cannot run here; the bundle inside it can. The task compiles a bundle, as Deno 2.9
 * overflows its stack when it embeds npm packages (denoland/deno issue 36746).
 */

const ROOT = new URL("../", import.meta.url);

/** Deadline for one command, in milliseconds. */
const COMMAND_TIMEOUT_MS = 120_000;

function check(isSo: boolean, what: string, output = ""): asserts isSo {
  if (!isSo) throw new Error(`not so: ${what}\n${output}`);
  console.log(`ok: ${what}`);
}

function command(args: string[], options: Deno.CommandOptions = {}): Deno.Command {
  const signal = AbortSignal.timeout(COMMAND_TIMEOUT_MS);
  return new Deno.Command(Deno.execPath(), {
    args,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal,
    ...options,
  });
}

/** The files that `deno compile` reports as embedded, by executable. */
function embedded(log: string): Map<string, string[]> {
  const blocks = log.split("Embedded Files").slice(1).map((block) => block.split("Files:")[0] ?? "");
  return new Map(blocks.map((block) => {
    const [name = "", ...tree] = block.split("\n").map((line) => line.replace(/[│├└┬─\s]+/, "").trim()).filter(Boolean);
    return [name, tree.map((line) => line.replace(/ \(.*\)$/, ""))];
  }));
}

/** A part of a text that is unchanged inside a JavaScript string. */
function plainStretch(text: string): string {
  const stretches = text.match(/[\w .,:;=-]+/g) ?? [];
  return stretches.reduce((longest, stretch) => stretch.length > longest.length ? stretch : longest, "");
}

const { code, stdout, stderr } = await command(["task", "-q", "compile"], {
  cwd: ROOT,
  env: { DENORT_BIN: Deno.execPath(), NO_COLOR: "1" },
}).output();
const log = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
check(code === 0, "the compile task ends with 0", log);

const files = embedded(log).get("wsproof") ?? [];
check(files.join() === "dist/wsproof.js", `the executable embeds its bundle and nothing else: ${files}`);
const bundle = await Deno.readFile(new URL("dist/wsproof.js", ROOT));
check(includes(await Deno.readFile(new URL("dist/wsproof", ROOT)), bundle), "it has every byte of the bundle");

const bundleText = new TextDecoder().decode(bundle);
for (const part of ["page.html", "page.css", "page.js"]) {
  const stretch = plainStretch(await Deno.readTextFile(new URL(`lib/server/page/${part}`, ROOT)));
  check(stretch.length > 20 && bundleText.includes(stretch), `the bundle has the text of ${part}`);
}

// Far from the project, so that only the bundle is there.
const folder = await Deno.makeTempDir();
await Deno.copyFile(new URL("dist/wsproof.js", ROOT), `${folder}/wsproof.js`);
const alone = ["run", "--cached-only", "--no-remote", "--no-npm", "--no-prompt", "--allow-net", "--allow-read"];
const place = { cwd: folder, env: { NO_COLOR: "1" } };

/** Runs the bundle as a client; returns its output. */
async function client(...args: string[]): Promise<{ code: number; printed: string }> {
  const { code, stdout, stderr } = await command([...alone, "wsproof.js", ...args], place).output();
  return { code, printed: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
}

/** Runs the bundle as a server during an action on its URL. */
async function withServer(words: string, use: (url: string) => Promise<void>): Promise<void> {
  const name = `"${words}"`;
  // The compile task gives the executable the same flag.
  const permissions = ["--unstable-net", "--allow-env=WSPROOF_*"];
  const args = [...alone, ...permissions, "wsproof.js", ...words.split(" "), "--port", "0"];
  const server = command(args, place).spawn();
  const lines = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
  const [, url = ""] = /^Listening on (\S+)/.exec((await lines.read()).value ?? "") ?? [];
  check(url !== "", `${name} of the bundle listens`);
  await use(url);
  server.kill("SIGTERM");
  await lines.cancel();
  await server.stderr.cancel();
  check((await server.status).code === 0, `${name} of the bundle ends with 0`);
}

const SERVES = ["serve", ...Deno.build.os === "linux" ? ["serve --transport wire --workers 2"] : []];
for (const words of SERVES) await withServer(words, assertServes);

async function assertServes(url: string): Promise<void> {
  const { code, printed } = await client(url);
  check(code === 0, "the client of the bundle proves it", printed);
  for (const [path, type] of [["/", "text/html"], ["/metrics", "text/plain"]] as const) {
    const response = await fetch(new URL(path, url.replace("ws:", "http:")), { headers: { accept: type } });
    await response.body?.cancel();
    check(
      response.status === 200 && (response.headers.get("content-type") ?? "").startsWith(type),
      `serve of the bundle answers ${path} with ${type}`,
    );
  }
}

await withServer("lab", async (url) => {
  const { code, printed } = await client(`${url}corrupt`);
  check(code === 6, "the client of the bundle sees what the lab does", printed);
});
await Deno.remove(folder, { recursive: true });

function includes(whole: Uint8Array, part: Uint8Array): boolean {
  const first = part[0] ?? 0;
  for (let at = whole.indexOf(first); at !== -1; at = whole.indexOf(first, at + 1)) {
    if (part.every((byte, index) => whole[at + index] === byte)) return true;
  }
  return false;
}
