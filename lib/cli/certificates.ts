/**
 * The TLS files, read with the same checks for client and server.
 *
 * @module
 */

import type { Environment } from "./environment.ts";
import { whyUnreadable } from "../client/payload.ts";
import type { Option, Source } from "./options.ts";
import { UsageError } from "./command_line.ts";

/** Reads the bytes of a file. */
type ReadFile = Pick<Environment, "readFile">;

/**
 * Reads a certificate and its key.
 *
 * @param source The source of the options.
 * @param options The options that name the two files.
 * @param environment The files.
 * @returns Both as PEM text; `undefined` if neither option was given.
 * @throws {UsageError} If one option was given without the other, a file cannot be read or lacks its PEM block, or the
 * key is encrypted.
 *
 * @example
 * ```ts
 * import { readPair } from "./certificates.ts";
 * import { parseCommandLine } from "./command_line.ts";
 * import { Source, text } from "./options.ts";
 * import { assertRejects } from "@std/assert";
 *
 * const cert = text({ name: "cert", value: "FILE", help: [] });
 * const key = text({ name: "key", value: "FILE", help: [] });
 * const source = new Source(parseCommandLine(["--cert", "cert.pem"], [cert, key]));
 * await assertRejects(() => readPair(source, { cert, key }, Deno), Error, "--cert and --key belong together");
 * ```
 */
export async function readPair(
  source: Source,
  { cert, key }: { cert: Option<string>; key: Option<string> },
  environment: ReadFile,
): Promise<{ cert: string; key: string } | undefined> {
  const [certPath, keyPath] = [source.value(cert), source.value(key)];
  if (certPath === undefined && keyPath === undefined) return undefined;
  if (certPath === undefined || keyPath === undefined) {
    throw new UsageError("Options --cert and --key belong together: give both");
  }
  return {
    cert: await readPem(source, cert, certPath, "CERTIFICATE", environment),
    key: await readPem(source, key, keyPath, "PRIVATE KEY", environment),
  };
}

/**
 * Reads certificate authorities.
 *
 * @param source The source of the option.
 * @param option The option that names their files.
 * @param environment The files.
 * @returns Each file as PEM text, in order.
 * @throws {UsageError} If a file cannot be read, or has no PEM certificate.
 *
 * @example
 * ```ts
 * import { readAuthorities } from "./certificates.ts";
 * import { parseCommandLine } from "./command_line.ts";
 * import { Source, text } from "./options.ts";
 * import { assertRejects } from "@std/assert";
 *
 * const ca = text({ name: "ca", value: "FILE", help: [] });
 * const source = new Source(parseCommandLine(["--ca", "."], [ca]));
 * await assertRejects(() => readAuthorities(source, ca, Deno), Error, 'Option --ca cannot be ".": it is a directory');
 * ```
 */
export async function readAuthorities(
  source: Source,
  option: Option<string>,
  environment: ReadFile,
): Promise<string[]> {
  return await Promise.all(
    source.values(option).map((path) => readPem(source, option, path, "CERTIFICATE", environment)),
  );
}

async function readPem(
  source: Source,
  option: Option<string>,
  path: string,
  label: "CERTIFICATE" | "PRIVATE KEY",
  { readFile }: ReadFile,
): Promise<string> {
  const refuse = (advice: string) => source.refusal(option, advice, `"${path}"`);
  const bytes = await readFile(path).catch((error) => {
    throw refuse(whyUnreadable(error));
  });
  const pem = new TextDecoder().decode(bytes);
  if (pem.trim() === "") throw refuse("it is empty");
  if (!pem.includes(`${label}-----`)) throw refuse(`the file has no PEM block "${label}"`);
  if (label === "PRIVATE KEY" && /^(-----BEGIN ENCRYPTED|Proc-Type: 4,ENCRYPTED)/m.test(pem)) {
    throw refuse("the key is encrypted: write it without a passphrase, as openssl pkey does");
  }
  return pem;
}
