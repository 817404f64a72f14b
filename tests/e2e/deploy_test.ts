/** The files of deploy/ are valid, and agree with the server and with each other. */

import { assert, assertEquals, assertThrows } from "@std/assert";
import { validate as problemsOf } from "npm:dockerfile-utils@0.16.3";
import { loadAll } from "npm:js-yaml@5.5.0";
import { Deployment } from "npm:kubernetes-models@5.1.0/apps/v1";
import { HorizontalPodAutoscaler } from "npm:kubernetes-models@5.1.0/autoscaling/v2";
import { NetworkPolicy } from "npm:kubernetes-models@5.1.0/networking.k8s.io/v1";
import { PodDisruptionBudget } from "npm:kubernetes-models@5.1.0/policy/v1";
import { Service } from "npm:kubernetes-models@5.1.0/v1";
import { outcomeOf, serverProcess, serverProcessWith, start } from "../support/command.ts";
import { V8_FLAGS } from "../../perf/support.ts";
import { testBoth } from "../support/transports.ts";
import { exchange } from "../../lib/client/exchange.ts";

const read = (path: string) => Deno.readTextFile(new URL(`../../${path}`, import.meta.url));
const manifest = await read("deploy/kubernetes.yaml");
const unit = await read("deploy/wsproof.service");
const containerfile = await read("deploy/Containerfile");
const nginx = await read("deploy/nginx.conf");
const workflow = await read(".github/workflows/ci.yml");

// deno-lint-ignore no-explicit-any -- schemas and tests assert its form
type Document = any;

const MODELS: Record<string, { prototype: { validate(): void } }> = {
  Deployment,
  HorizontalPodAutoscaler,
  NetworkPolicy,
  PodDisruptionBudget,
  Service,
};

/** The schemas accept unknown fields. A field that no validator reads is unknown. */
function watched(value: Document, path: string, unread: Set<string>): Document {
  if (typeof value !== "object" || value === null) return value;
  for (const name of Object.keys(value)) unread.add(`${path}.${name}`);
  return new Proxy(value, {
    get(target, name) {
      if (typeof name === "symbol" || !Object.hasOwn(target, name)) return Reflect.get(target, name);
      unread.delete(`${path}.${name}`);
      return watched(target[name], `${path}.${name}`, unread);
    },
  });
}

Deno.test("deploy/ and the tasks give V8 as much short-lived memory as the measurements do", async () => {
  const { tasks } = JSON.parse(await read("deno.json"));
  for (const text of [unit, containerfile, tasks.server.command, tasks.serve.command, tasks.compile.command]) {
    assert(text.includes(V8_FLAGS), `${V8_FLAGS} is missing: ${text}`);
  }
});

/** Validates a document against the schema of its kind. */
function validateDocument(document: Document): void {
  const model = MODELS[document.kind];
  if (model === undefined) throw new Error(`No schema for the kind ${document.kind}`);
  const unread = new Set<string>();
  model.prototype.validate.call(watched(document, document.kind, unread));
  if (unread.size > 0) throw new Error(`Unknown: ${[...unread].join(", ")}`);
}

/** The first group of a match; throws without one. */
function found(text: string, pattern: RegExp): string {
  const value = pattern.exec(text)?.[1];
  assert(value !== undefined, `${pattern} is missing`);
  return value;
}

const documents: Document[] = loadAll(manifest);
const deployment = documents.find(({ kind }) => kind === "Deployment");
const pod = deployment.spec.template.spec;
const [container] = pod.containers;
const podEnv = new Map<string, string>(container.env.map((each: Document) => [each.name, each.value]));
const help = await outcomeOf(start("server.ts", ["--help"]));

Deno.test("kubernetes.yaml is valid, each document by the schema of its kind", () => {
  const kinds = ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"];
  assertEquals(documents.map(({ kind }) => kind), kinds);
  for (const document of documents) validateDocument(document);
});

for (
  const [from, to, problem] of [
    ["maxSurge: 1", "maxSurges: 1", "rollingUpdate.maxSurges"],
    ["maxReplicas: 8", "maxReplicas: eight", "spec/maxReplicas must be integer"],
    ["averageUtilization: 80", "averageUtilisation: 80", "target.averageUtilisation"],
    ["scaleDown:", "scaledown:", "behavior.scaledown"],
    ["readinessProbe:", "readinesProbe:", "containers.0.readinesProbe"],
    ["containerPort: 6455", "containerPort: http", "containerPort must be integer"],
    ["memory: 1Gi", "memory: much", "limits/memory must match format"],
    ["runAsNonRoot: true", 'runAsNonRoot: "yes"', "runAsNonRoot must be boolean"],
    ["sleep:", "sleeps:", "preStop.sleeps"],
    ["maxUnavailable: 1", "maxUnavailabel: 1", "PodDisruptionBudget.spec.maxUnavailabel"],
    ["targetPort: http", "target: http", "Service.spec.ports.0.target"],
    ["policyTypes:", "policyType:", "NetworkPolicy.spec.policyType"],
  ] as const
) {
  Deno.test(`kubernetes.yaml is invalid with "${to}"`, () => {
    const broken = manifest.replace(from, to);
    assert(broken !== manifest);
    assertThrows(() => loadAll(broken).forEach(validateDocument), Error, problem);
  });
}

Deno.test("kubernetes.yaml probes the port that the server listens on", () => {
  for (const name of ["startupProbe", "readinessProbe", "livenessProbe"]) {
    assertEquals(container[name].httpGet, { path: "/healthz", port: container.ports[0].name });
  }
  assertEquals(podEnv.get("WSPROOF_PORT"), `${container.ports[0].containerPort}`);
  assertEquals(documents.find(({ kind }) => kind === "Service").spec.ports[0].targetPort, container.ports[0].name);
});

Deno.test("kubernetes.yaml selects its own pods in all documents", () => {
  const { labels } = deployment.spec.template.metadata;
  const [, service, , budget, policy] = documents;
  const selectors = [deployment.spec.selector.matchLabels, service.spec.selector, budget.spec.selector.matchLabels];
  for (const selector of [...selectors, policy.spec.podSelector.matchLabels]) {
    assertEquals(selector, labels);
  }
});

Deno.test("kubernetes.yaml lets the autoscaler alone say how many pods there are, and always keeps one that serves", () => {
  const { spec } = documents.find(({ kind }) => kind === "HorizontalPodAutoscaler");
  assertEquals(spec.scaleTargetRef, { apiVersion: "apps/v1", kind: "Deployment", name: deployment.metadata.name });
  // A value here would be set again at each apply.
  assertEquals(deployment.spec.replicas, undefined);
  const budget = documents.find(({ kind }) => kind === "PodDisruptionBudget");
  assert(spec.minReplicas > budget.spec.maxUnavailable);
  // The usage of a resource is a share of its request, so each container needs one.
  for (const { resource } of spec.metrics) assert(container.resources.requests[resource.name] !== undefined);
});

Deno.test("kubernetes.yaml lets a pod be as busy as its workers can make it before another one comes", () => {
  const { spec } = documents.find(({ kind }) => kind === "HorizontalPodAutoscaler");
  const busyCores = Number(container.resources.requests.cpu) * spec.metrics[0].resource.target.averageUtilization / 100;
  assert(busyCores < Number(podEnv.get("WSPROOF_WORKERS")));
});

Deno.test("kubernetes.yaml lets traffic in to the server's port only, and nothing out", () => {
  const { policyTypes, ingress, egress } = documents.find(({ kind }) => kind === "NetworkPolicy").spec;
  assertEquals(policyTypes, ["Ingress", "Egress"]);
  assertEquals(ingress, [{ ports: [{ protocol: "TCP", port: container.ports[0].name }] }]);
  assertEquals(egress, []);
});

Deno.test("kubernetes.yaml starts no pod without the token", () => {
  const { valueFrom } = container.env.find(({ name }: Document) => name === "WSPROOF_TOKEN");
  assertEquals(valueFrom, { secretKeyRef: { name: "wsproof", key: "token" } });
  assertEquals(/LoadCredential=token:\/\S+$/m.test(unit), true);
});

Deno.test("kubernetes.yaml gives a pod more time to end than its wait and the server take", () => {
  const timeout = Number(podEnv.get("WSPROOF_SHUTDOWN_TIMEOUT"));
  const { seconds } = container.lifecycle.preStop.sleep;
  assert(timeout > 0 && pod.terminationGracePeriodSeconds >= seconds + timeout + 5);
});

Deno.test("the service has more time to stop than the server takes", () => {
  const timeout = Number(found(unit, /WSPROOF_SHUTDOWN_TIMEOUT=(\d+)/));
  assert(Number(found(unit, /^TimeoutStopSec=(\d+)$/m)) >= timeout + 5);
});

Deno.test("the service may open a descriptor for every connection", () => {
  const most = Number(found(help.stdout, /--max-connections[^]*?\(default (\d+)\)/));
  assert(Number(found(unit, /^LimitNOFILE=(\d+)$/m)) > most);
});

Deno.test("nginx is more patient with a silent connection than the server", () => {
  const idle = Number(found(help.stdout, /--idle-timeout[^]*?\(default (\d+)\)/));
  for (const name of ["proxy_read_timeout", "proxy_send_timeout"]) {
    assert(Number(found(nginx, new RegExp(`${name} (\\d+)s;`))) >= 2 * idle);
  }
});

Deno.test("the server pings before a proxy cuts a silent connection, as most do after 60 s", () => {
  assert(Number(found(help.stdout, /--idle-timeout[^]*?\(default (\d+)\)/)) / 2 <= 30);
  for (const text of [manifest, unit, containerfile]) assertEquals(text.includes("WSPROOF_IDLE_TIMEOUT"), false);
});

Deno.test("the files set no variable that the server does not know", () => {
  const options = [...help.stdout.matchAll(/^ +(?:-\w, )?--([\w-]+)/gm)].map(([, name = ""]) => name);
  const known = new Set(options.map((name) => `WSPROOF_${name.toUpperCase().replaceAll("-", "_")}`));
  const used = new Set(
    [manifest, unit, containerfile].flatMap((text) => text.match(/\bWSPROOF_[A-Z_]*[A-Z]\b/g) ?? []),
  );
  assert(used.size >= 5);
  assertEquals([...used].filter((name) => !known.has(name)), []);
});

Deno.test("the image has the Deno of the README's quick start", async () => {
  const version = found(await read("README.md"), /npx --yes deno@([\d.]+) task/);
  // By digest, as a tag may move to another image.
  assertEquals(found(containerfile, /^FROM denoland\/deno:([\d.]+)@sha256:[0-9a-f]{64}$/m), version);
  assertEquals(found(workflow, /deno-version: v(\S+)$/m), version);
});

Deno.test("Containerfile is valid", async () => {
  assertEquals(problemsOf(containerfile), []);
  assertEquals(problemsOf(containerfile.replace("EXPOSE", "EXPOZE")).length, 1);
  // An unnamed user of an image is root.
  const user = Number(found(containerfile, /^USER (\d+)/m));
  assertEquals(user, pod.securityContext.runAsUser);
  assertEquals(found(containerfile, /^EXPOSE (\d+)$/m), podEnv.get("WSPROOF_PORT"));
  const copied = found(containerfile, /^COPY (deno\.json .*) \.\/$/m).split(" ");
  for (const path of [...copied, "lib"]) assert(await Deno.stat(new URL(`../../${path}`, import.meta.url)));
  const wanted = (await read("deploy/Containerfile.dockerignore")).match(/(?<=^!)[\w.]+/gm);
  assertEquals(wanted, [...copied, "lib"]);
});

/** The limits of a file: connections, memory of all peers together, and the whole, in MiB. */
interface Memory {
  readonly workers: number;
  readonly connections: number;
  readonly totalMib: number;
  readonly limitMib: number;
}

const MEMORY: Record<string, Memory> = {
  "kubernetes.yaml": {
    workers: Number(podEnv.get("WSPROOF_WORKERS")),
    connections: Number(podEnv.get("WSPROOF_MAX_CONNECTIONS")),
    totalMib: Number(/^(\d+)MiB$/.exec(podEnv.get("WSPROOF_MAX_BUFFERED_TOTAL") ?? "")?.[1]),
    limitMib: 1024 * Number(/^(\d+)Gi$/.exec(container.resources.limits.memory)?.[1]),
  },
  "wsproof.service": {
    workers: Number(found(unit, /WSPROOF_WORKERS=(\d+)/)),
    connections: Number(found(unit, /WSPROOF_MAX_CONNECTIONS=(\d+)/)),
    totalMib: Number(found(unit, /WSPROOF_MAX_BUFFERED_TOTAL=(\d+)MiB/)),
    limitMib: 1024 * Number(found(unit, /^MemoryMax=(\d+)G$/m)),
  },
  "Containerfile": {
    // A single worker is no thread of its own.
    workers: 0,
    connections: Number(found(containerfile, /WSPROOF_MAX_CONNECTIONS=(\d+)/)),
    totalMib: Number(found(containerfile, /WSPROOF_MAX_BUFFERED_TOTAL=(\d+)MiB/)),
    limitMib: 1024 * Number(found(containerfile, /podman run .*--memory (\d+)g/)),
  },
};

for (const [file, { workers, connections, totalMib, limitMib }] of Object.entries(MEMORY)) {
  Deno.test(`the limits of ${file} fit its memory, and deploy/README.md has the sum`, async () => {
    // perf/limits.ts measures the real server: its memory stays below the sum.
    const sum = Math.round(60 + 20 * workers + connections * 32 / 1024 + 2 * totalMib);
    assert(sum <= 0.75 * limitMib, `${sum} of ${limitMib} MiB`);
    const row = new RegExp(
      `\\| \`${file}\` *\\| *(\\d+) \\| *([\\d,]+) \\| *(\\d+) MiB \\| *([\\d,]+) MiB \\| *(\\d+) GiB \\|`,
    );
    const cells = row.exec(await read("deploy/README.md"))?.slice(1).map((cell) => Number(cell.replace(",", "")));
    assertEquals(cells, [Math.max(workers, 1), connections, totalMib, sum, limitMib / 1024]);
  });
}

const entrypoint: string[] = JSON.parse(found(containerfile, /^ENTRYPOINT (\[.*\])$/m));
const command = found(unit, /^ExecStart=\/usr\/local\/bin\/(.*) --token %d\/token$/m);

/** Expands the variables of a command like systemd. */
function expanded(command: string, values: Readonly<Record<string, string>>): string {
  return command.replace(/\$\{(\w+)\}/g, (_, name: string) => values[name] ?? "");
}

Deno.test("the image and the service start the server in the same way, without a shell", () => {
  const values = Object.fromEntries(containerfile.matchAll(/\b(WSPROOF_\w+)=(\S+)/g).map(([, ...pair]) => pair));
  assertEquals(entrypoint.join(" "), expanded(command, values));
});

Deno.test("the image and the service let the server use its own address only", () => {
  const net = (words: readonly string[]) => words.filter((word) => word.startsWith("--allow-net"));
  assertEquals(net(entrypoint), [`--allow-net=0.0.0.0:${podEnv.get("WSPROOF_PORT")}`]);
  assertEquals(net(command.split(" ")), ["--allow-net=${WSPROOF_HOST}:${WSPROOF_PORT}"]);
  for (const name of ["WSPROOF_HOST", "WSPROOF_PORT"]) {
    // An unset variable would expand to nothing.
    for (const text of [unit, containerfile]) assert(new RegExp(`\\b${name}=\\S`).test(text));
  }
});

/** A free port. */
function freePort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

testBoth("the server works with permission for its own address only", async (transport) => {
  const port = freePort();
  const options = { net: expanded("${HOST}:${PORT}", { HOST: "127.0.0.1", PORT: `${port}` }) };
  await using server = await serverProcessWith(options, "--port", `${port}`, "--transport", transport);
  assertEquals((await exchange(server.url)).verdict, "proven");
  for (const path of ["/", "/healthz", "/metrics"]) {
    const answer = await fetch(new URL(path, server.url.replace("ws:", "http:")));
    await answer.body?.cancel();
    assertEquals([path, answer.status], [path, 200]);
  }
});

Deno.test("the tasks let the server listen on loopback and wildcard addresses, and on no others", async () => {
  const { tasks } = JSON.parse(await read("deno.json"));
  const granted = (name: string) => /--allow-net(\S*)/.exec(tasks[name].command)?.[1];
  assertEquals(granted("server"), "=127.0.0.1,[::1],0.0.0.0,[::]");
  assertEquals(granted("lab"), granted("server"));
  const { command } = tasks.serve;
  assertEquals(granted("serve"), `=${found(command, /--host (\S+)/)}:${found(command, /--port (\S+)/)}`);
});

const healthcheck: string[] = JSON.parse(found(containerfile, /^HEALTHCHECK [^]*?CMD (\[.*\])$/m));

/** Runs the image's health check, with a proxy for everything in its environment. */
async function isHealthy(port: number | string, proxy: string): Promise<boolean> {
  const proxies = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].map((name) => [name, proxy]);
  const env = { ...Object.fromEntries(proxies), NO_PROXY: "example.com", WSPROOF_PORT: `${port}` };
  const [program = "", ...args] = healthcheck.map((word) => word === "deno" ? Deno.execPath() : word);
  const { success } = await new Deno.Command(program, { args, env, stdout: "null", stderr: "null" }).output();
  return success;
}

const unixOnly = { ignore: Deno.build.os === "windows" };

testBoth(
  "the image is healthy while the server runs, and not when it has ended, with a dead proxy",
  async (transport) => {
    const proxy = `http://127.0.0.1:${freePort()}`;
    const server = await serverProcess("--transport", transport, "-q");
    const { port } = new URL(server.url);
    assertEquals(await isHealthy(port, proxy), true);
    await server[Symbol.asyncDispose]();
    assertEquals(await isHealthy(port, proxy), false);
  },
  unixOnly,
);

Deno.test({
  name: "the image is unhealthy after the server has ended, even with a proxy that answers for it",
  ...unixOnly,
  fn: async () => {
    const proxy = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, () => new Response("ok"));
    assertEquals(await isHealthy(freePort(), `http://127.0.0.1:${proxy.addr.port}`), false);
    await proxy.shutdown();
  },
});

Deno.test("the health check of the image asks no proxy for the server's own address", () => {
  assertEquals(healthcheck.slice(0, 3), ["env", "NO_PROXY=127.0.0.1", "no_proxy=127.0.0.1"]);
});

Deno.test("the image, the service and the workflow use only packages that deno.lock names", async () => {
  for (const text of [containerfile, await read("deploy/README.md"), workflow]) {
    const caching = text.match(/deno cache .*main\.ts.*/g) ?? [];
    assert(caching.length > 0 && caching.every((line) => line.startsWith("deno cache --frozen ")), caching.join("\n"));
  }
});

Deno.test("the workflow names each action by a commit, with its version behind it", () => {
  const uses = workflow.match(/^\s*- uses: .*$/gm) ?? [];
  assert(uses.length >= 2);
  for (const line of uses) assert(/@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(line), line);
});

Deno.test({
  name: "systemd accepts the service",
  ignore: await Deno.stat("/usr/bin/systemd-analyze").then(() => false, () => true),
  fn: async () => {
    assertEquals(await complaintsOf(unit), []);
    assertEquals((await complaintsOf(unit.replace("ProtectSystem", "ProtectSystm"))).length, 1);
  },
});

/** The complaints of systemd about a unit. It succeeds even when it ignores lines. */
async function complaintsOf(text: string): Promise<string[]> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/wsproof.service`;
  await Deno.writeTextFile(path, text);
  const { stderr } = await new Deno.Command("/usr/bin/systemd-analyze", { args: ["verify", path] }).output();
  await Deno.remove(folder, { recursive: true });
  return new TextDecoder().decode(stderr).split("\n").filter((line) => line.startsWith(path));
}
