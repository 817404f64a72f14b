/**
 * Runs the compile task as far as it goes without the network, and checks what it embeds: the executables get Deno itself for a
 * runtime, so they cannot run here; the bundles inside them can. The task compiles bundles, as Deno 2.9 overflows its stack
 * when it embeds npm packages (denoland/deno issue 36746).
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

/** The files that `deno compile` says it has embedded, by executable. */
function embedded(log: string): Map<string, string[]> {
  const blocks = log.split("Embedded Files").slice(1).map((block) => block.split("Files:")[0] ?? "");
  return new Map(blocks.map((block) => {
    const [name = "", ...tree] = block.split("\n").map((line) => line.replace(/[│├└┬─\s]+/, "").trim()).filter(Boolean);
    return [name, tree.map((line) => line.replace(/ \(.*\)$/, ""))];
  }));
}

/** A stretch of a text that looks the same inside a string of JavaScript. */
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

for (const name of ["wsproof", "wsproof-server"]) {
  const files = embedded(log).get(name) ?? [];
  check(files.join() === `dist/${name}.js`, `${name} embeds its bundle and nothing else: ${files}`);
  const executable = await Deno.readFile(new URL(`dist/${name}`, ROOT));
  const bundle = await Deno.readFile(new URL(`dist/${name}.js`, ROOT));
  check(includes(executable, bundle), `${name} has every byte of its bundle`);
}

const serverBundle = await Deno.readTextFile(new URL("dist/wsproof-server.js", ROOT));
for (const part of ["page.html", "page.css", "page.js"]) {
  const stretch = plainStretch(await Deno.readTextFile(new URL(`lib/server/page/${part}`, ROOT)));
  check(stretch.length > 20 && serverBundle.includes(stretch), `wsproof-server has the text of ${part}`);
}

// Far from the project, so that nothing but the bundle is there.
const folder = await Deno.makeTempDir();
for (const name of ["wsproof", "wsproof-server"]) {
  await Deno.copyFile(new URL(`dist/${name}.js`, ROOT), `${folder}/${name}.js`);
}
const alone = ["run", "--cached-only", "--no-remote", "--no-npm", "--no-prompt", "--allow-net", "--allow-read"];
const server = command([...alone, "--allow-env=WSPROOF_*", "wsproof-server.js", "--port", "0"], {
  cwd: folder,
  env: { NO_COLOR: "1" },
}).spawn();
const lines = server.stdout.pipeThrough(new TextDecoderStream()).getReader();
const [, url = ""] = /^Listening on (\S+)/.exec((await lines.read()).value ?? "") ?? [];
check(url !== "", "the server's bundle listens");
const proof = await command([...alone, "wsproof.js", url], { cwd: folder, env: { NO_COLOR: "1" } }).output();
const text = new TextDecoder();
check(proof.code === 0, "the client's bundle proves it", text.decode(proof.stdout) + text.decode(proof.stderr));
for (const [path, type] of [["/", "text/html"], ["/metrics", "text/plain"]] as const) {
  const headers = { accept: type };
  const response = await fetch(new URL(path, url.replace("ws:", "http:")), { headers });
  await response.body?.cancel();
  check(
    response.status === 200 && (response.headers.get("content-type") ?? "").startsWith(type),
    `the server's bundle answers ${path} with ${type}`,
  );
}
server.kill("SIGTERM");
await lines.cancel();
await server.stderr.cancel();
check((await server.status).code === 0, "the server's bundle ends with 0");
await Deno.remove(folder, { recursive: true });

function includes(whole: Uint8Array, part: Uint8Array): boolean {
  const first = part[0] ?? 0;
  for (let at = whole.indexOf(first); at !== -1; at = whole.indexOf(first, at + 1)) {
    if (part.every((byte, index) => whole[at + index] === byte)) return true;
  }
  return false;
}
