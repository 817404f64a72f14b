/** nginx in front of instances of the server, with the configuration of deploy/. */

import { within } from "../../lib/net/deadline.ts";

const NGINX = "/usr/sbin/nginx";
const DEPLOYED = new URL("../../deploy/nginx.conf", import.meta.url);

/** Deadline for nginx to start or end, in milliseconds. */
const NGINX_TIMEOUT_MS = 60_000;

/** Whether nginx is installed. */
export const hasNginx: boolean = await Deno.stat(NGINX).then(() => true, () => false);

/** An nginx process; dispose of it to stop it. */
export interface Nginx extends AsyncDisposable {
  readonly url: string;
  /** The logs so far: the status of each answer and of the instances' answers, and the errors. */
  logs(): Promise<{ answers: string[]; errors: string[] }>;
}

/**
 * A loopback address of its own, for a listener that must return to the same port: on 127.0.0.1 the system may lend the
 * port to an outgoing connection meanwhile.
 */
export function ownAddress(): string {
  const [a = 0, b = 0] = crypto.getRandomValues(new Uint8Array(2));
  return `127.${64 + a % 128}.${b}.1`;
}

/**
 * Starts nginx with `deploy/nginx.conf`, only with other addresses.
 *
 * @param instances The addresses of the instances, as `host:port`.
 */
export async function startNginx(instances: readonly string[]): Promise<Nginx> {
  const folder = await Deno.makeTempDir({ prefix: "wsproof-nginx-" });
  const address = freeAddress();
  await Deno.writeTextFile(`${folder}/site.conf`, siteOf(await Deno.readTextFile(DEPLOYED), address, instances));
  await Deno.writeTextFile(`${folder}/nginx.conf`, mainOf(folder));
  const child = new Deno.Command(NGINX, {
    args: ["-p", folder, "-e", `${folder}/error.log`, "-c", `${folder}/nginx.conf`, "-g", "daemon off;"],
    stdout: "null",
    stderr: "null",
  }).spawn();
  const linesOf = async (name: string) =>
    (await Deno.readTextFile(`${folder}/${name}`).catch(() => "")).split("\n").filter((line) => line !== "");
  const nginx: Nginx = {
    url: `ws://${address}/`,
    logs: async () => ({ answers: await linesOf("access.log"), errors: await linesOf("error.log") }),
    async [Symbol.asyncDispose]() {
      try {
        child.kill("SIGTERM");
      } catch {
        // Already ended.
      }
      await within(child.status, "end of nginx", { timeoutMs: NGINX_TIMEOUT_MS }).finally(() =>
        Deno.remove(folder, { recursive: true })
      );
    },
  };
  try {
    await listening(address, child);
  } catch (error) {
    const { errors } = await nginx.logs();
    await nginx[Symbol.asyncDispose]();
    throw new Error(errors.join("\n"), { cause: error });
  }
  return nginx;
}

/** The deployed site with the addresses of the test; fails if one to replace is missing. */
function siteOf(site: string, address: string, instances: readonly string[]): string {
  const servers = /(?:^ *server 127\.0\.0\.1:\d+ .*;\n)+/m;
  const [block = ""] = servers.exec(site) ?? [];
  const [options] = /(?<=:\d+) .*(?=;)/.exec(block) ?? [];
  if (options === undefined || !site.includes("listen 80;")) throw new Error("deploy/nginx.conf has another form");
  return site
    .replace(servers, instances.map((each) => `server ${each}${options};\n`).join(""))
    .replace("listen 80;", `listen ${address};`);
}

function mainOf(folder: string): string {
  const temps = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) =>
    `${name}_temp_path ${folder}/${name};`
  );
  return `
worker_processes 2;
pid ${folder}/pid;
events { worker_connections 256; }
http {
  log_format answers '$status $upstream_status';
  access_log ${folder}/access.log answers;
  ${temps.join("\n  ")}
  include ${folder}/site.conf;
}
`;
}

function freeAddress(): string {
  const hostname = ownAddress();
  const listener = Deno.listen({ hostname, port: 0 });
  const { port } = listener.addr;
  listener.close();
  return `${hostname}:${port}`;
}

async function listening(address: string, child: Deno.ChildProcess): Promise<void> {
  const { hostname, port } = new URL(`http://${address}`);
  const dueAt = performance.now() + NGINX_TIMEOUT_MS;
  let isGone = false;
  child.status.then(() => isGone = true);
  while (!isGone) {
    try {
      (await Deno.connect({ hostname, port: Number(port) })).close();
      return;
    } catch (error) {
      if (performance.now() > dueAt) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
  throw new Error("nginx did not start");
}
