/**
 * A look at an untrusted server certificate, for the user who decides whether to trust.
 *
 * @module
 */

import { messageOf } from "../protocol/error.ts";
import type { DialOptions } from "./dial_options.ts";
import { OptionError, type ServerCertificate } from "./open_error.ts";
import { TimeoutError, within } from "./deadline.ts";
import { withoutEnvironmentProxies } from "./proxy.ts";

/** Deadline for a look at a certificate, in milliseconds: 2 s. */
const LOOK_TIMEOUT_MS = 2000;

/**
 * Looks at the certificates that a server presents, over a separate connection that carries nothing else.
 *
 * @param target The host and port of the server.
 * @param caCerts Authorities to trust besides the system's.
 * @returns The certificate; `undefined` if the server does not present one within 2 s.
 */
export async function lookAtCertificate(
  { hostname, port }: { hostname: string; port: number },
  caCerts: readonly string[] = [],
): Promise<ServerCertificate | undefined> {
  const tls = process.getBuiltinModule("node:tls");
  const { isIP } = process.getBuiltinModule("node:net");
  const { X509Certificate } = process.getBuiltinModule("node:crypto");
  const { promise, resolve } = Promise.withResolvers<ServerCertificate | undefined>();
  const servername = isIP(hostname) === 0 ? { servername: hostname } : {};
  const socket = tls.connect({ host: hostname, port, rejectUnauthorized: false, ...servername }, () => {
    try {
      const chain: InstanceType<typeof X509Certificate>[] = [];
      // The last certificate of a chain may name itself as its issuer.
      for (
        let shown = socket.getPeerCertificate(true);
        shown?.raw && chain.length < MAX_CHAIN && chain.at(-1)?.raw.equals(shown.raw) !== true;
        shown = shown.issuerCertificate
      ) chain.push(new X509Certificate(shown.raw));
      const authorities = caCerts.flatMap((pem) => pem.match(PEM_CERTIFICATE) ?? []).map((pem) =>
        new X509Certificate(pem)
      );
      const last = chain.at(-1);
      if (last === undefined) return resolve(undefined);
      resolve({
        issuer: nameIn(last.issuer),
        isSelfSigned: chain.length === 1 && last.issuer === last.subject,
        isIssuerGiven: authorities.some((authority) => authority.subject === last.issuer),
      });
    } catch {
      resolve(undefined);
    }
  });
  socket.on("error", () => resolve(undefined));
  const timer = setTimeout(() => resolve(undefined), LOOK_TIMEOUT_MS);
  const certificate = await promise;
  clearTimeout(timer);
  socket.destroy();
  return certificate;
}

/**
 * Waits for the alert with which a server ends TLS, over a separate connection that carries nothing else: an unread
 * request makes TCP reset, and a reset loses the alert.
 *
 * @param target The host and port of the server.
 * @param options The authorities and the client certificate.
 * @returns The runtime's words for the alert; empty if the server does not end TLS within 2 s.
 */
export async function awaitAlert(
  target: { hostname: string; port: number },
  { caCerts, clientCertificate, signal }: DialOptions,
): Promise<string> {
  const wait = { timeoutMs: LOOK_TIMEOUT_MS, signal };
  const opening = Deno.connectTls({ ...target, ...(caCerts && { caCerts: [...caCerts] }), ...clientCertificate });
  try {
    const connection = await within(opening, "TLS connection", wait);
    await within(connection.handshake(), "TLS handshake", wait);
    await within(connection.read(new Uint8Array(1)), "alert", wait);
    return "";
  } catch (error) {
    if (signal?.aborted) throw error;
    return error instanceof TimeoutError ? "" : messageOf(error);
  } finally {
    // A connection that opens after the deadline must close as well.
    opening.then((connection) => connection.close()).catch(() => {});
  }
}

const MAX_CHAIN = 10;

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g;

/** Joins the lines of a distinguished name. */
function nameIn(name: string): string {
  return name.replace(/\n/g, ", ");
}

/**
 * Checks the certificates and the key of the options, before anything is sent.
 *
 * @param options The options.
 * @throws {OptionError} If a certificate or the key is unusable.
 *
 * @example
 * ```ts
 * import { assertCertificates } from "./certificate.ts";
 * import { OptionError } from "./open_error.ts";
 * import { assertThrows } from "@std/assert";
 *
 * const junk = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
 * assertThrows(() => assertCertificates({ caCerts: [junk] }), OptionError, "not a valid certificate");
 * ```
 */
export function assertCertificates({ caCerts = [], clientCertificate }: DialOptions): void {
  for (const [index, pem] of caCerts.entries()) {
    const which = caCerts.length === 1 ? "" : ` (${index + 1} of ${caCerts.length})`;
    const cause = unusable({ caCerts: [pem] });
    if (cause === undefined) continue;
    throw new OptionError(`Cannot use the file of --ca${which}: it has a block that is not a valid certificate`, {
      cause,
    });
  }
  const problem = clientCertificate && pairProblem(clientCertificate);
  if (problem !== undefined) throw new OptionError(problem);
}

/**
 * Checks a certificate with its key. The runtime reads the pair the same way for clients and servers.
 *
 * @param pair The certificate chain, leaf first, and the private key, as PEM text.
 * @returns The fault and the remedy; `undefined` for a usable pair.
 *
 * @example
 * ```ts
 * import { pairProblem } from "./certificate.ts";
 * import { assertStringIncludes } from "@std/assert";
 *
 * assertStringIncludes(pairProblem({ cert: "", key: "" }) ?? "", "No certificates found");
 * ```
 */
export function pairProblem(pair: { readonly cert: string; readonly key: string }): string | undefined {
  const words = unusable(pair);
  if (words === undefined) return undefined;
  const [, reason] = PAIR_PROBLEMS.find(([pattern]) => pattern.test(words)) ?? [undefined, words];
  return `Cannot use the certificate and its key: ${reason}; give --cert and --key PEM files that belong together`;
}

/** The runtime's words for an unusable pair, and ours. */
const PAIR_PROBLEMS: readonly (readonly [RegExp, string])[] = [
  [/KeyMismatch/, "the key does not belong to the certificate"],
  [/peer certificate|BadEncoding/, "the certificate is damaged"],
  [/private key|decode key/, "the key is damaged, encrypted, or of a kind that is not supported"],
];

/** The runtime's words for unusable certificates or an unusable key. */
function unusable(options: Deno.CreateHttpClientOptions | { cert: string; key: string }): string | undefined {
  try {
    withoutEnvironmentProxies(() => Deno.createHttpClient(options)).close();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}
