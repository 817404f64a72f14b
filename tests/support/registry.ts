/** A registry like JSR on loopback, with the stand-ins of offline/ as packages. */

const OFFLINE = new URL("../../offline/", import.meta.url);

const PACKAGES = [
  { name: "@std/assert", version: "1.0.19", exports: { ".": "./assert.ts" } },
  {
    name: "@std/cli",
    version: "1.0.30",
    exports: {
      "./parse-args": "./parse_args.ts",
      "./unicode-width": "./unicode_width.ts",
      "./unstable-progress-bar": "./progress_bar.ts",
    },
  },
  { name: "@std/http", version: "1.1.1", exports: { "./negotiation": "./negotiation.ts", "./status": "./status.ts" } },
];

/** The answers of a registry, by path. */
export type Pages = Map<string, string>;

/** The pages of a registry with the packages, and each package's hash as in deno.lock. */
export async function packagePages(): Promise<{ pages: Pages; integrity: Record<string, string> }> {
  const pages: Pages = new Map();
  const integrity: Record<string, string> = {};
  for (const { name, version, exports } of PACKAGES) {
    const manifest: Record<string, unknown> = {};
    for (const file of Object.values(exports)) {
      const source = await Deno.readTextFile(new URL(file, OFFLINE));
      pages.set(`/${name}/${version}/${file.slice(2)}`, source);
      manifest[file.slice(1)] = {
        size: new TextEncoder().encode(source).length,
        checksum: `sha256-${await hash(source)}`,
      };
    }
    const meta = JSON.stringify({ manifest, exports });
    pages.set(`/${name}/${version}_meta.json`, meta);
    pages.set(`/${name}/meta.json`, JSON.stringify({ scope: "std", name: name.slice(5), versions: { [version]: {} } }));
    integrity[`${name}@${version}`] = await hash(meta);
  }
  return { pages, integrity };
}

async function hash(text: string): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))).toHex();
}

/** A running registry; dispose of it to stop it. */
export interface Registry extends AsyncDisposable {
  readonly url: string;
  /** The number of requests. */
  readonly requests: number;
}

/** Starts a registry; without pages it answers only the status. */
export function serveRegistry(pages: Pages, status = 404): Registry {
  let requests = 0;
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    requests++;
    const text = pages.get(new URL(request.url).pathname);
    return text === undefined ? new Response(null, { status }) : new Response(text);
  });
  return {
    url: `http://127.0.0.1:${server.addr.port}/`,
    get requests() {
      return requests;
    },
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}
