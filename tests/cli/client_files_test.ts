/** Options of the client that name files. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { ExchangeOptions } from "../../lib/client/exchange_options.ts";
import type { Message } from "../../lib/protocol/message.ts";
import { messagesFor, sameProperties, settingsFor } from "../support/settings.ts";

const hex = (digits: string) => Uint8Array.fromHex(digits);

const CERTIFICATE = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
const KEY = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";

/** The files behind each `{}` in the arguments below. */
const FILES = {
  "ca.pem": CERTIFICATE,
  "key.pem": KEY,
  "long.pem": CERTIFICATE.padEnd(1_048_576),
  "locked.pem": "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA==\n-----END ENCRYPTED PRIVATE KEY-----\n",
  "text": "né",
  "empty": "",
};

/** Runs a test in a directory with these files. */
async function withFiles(args: readonly string[], test: (args: string[]) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    for (const [name, content] of Object.entries(FILES)) await Deno.writeTextFile(`${directory}/${name}`, content);
    await Deno.writeFile(`${directory}/bytes`, hex("c3a9ff"));
    await test(args.map((arg) => arg.replace("{}", directory)));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const FILE_EFFECTS: readonly { args: string[]; exchange: ExchangeOptions }[] = [
  { args: ["--ca", "{}/ca.pem"], exchange: { caCerts: [CERTIFICATE] } },
  { args: ["--ca", "{}/ca.pem", "--ca", "{}/ca.pem"], exchange: { caCerts: [CERTIFICATE, CERTIFICATE] } },
  { args: ["--ca", "{}/long.pem"], exchange: { caCerts: [FILES["long.pem"]] } },
  {
    args: ["--cert", "{}/ca.pem", "--key", "{}/key.pem"],
    exchange: { clientCertificate: { cert: CERTIFICATE, key: KEY } },
  },
];
for (const { args, exchange } of FILE_EFFECTS) {
  Deno.test(`readClientSettings() sets ${Object.keys(exchange)}, when told ${args.join(" ")}`, async () => {
    await withFiles(args, async (args) => {
      assertEquals(sameProperties((await settingsFor(args)).exchange, exchange), { ...exchange });
    });
  });
}

const FILE_PAYLOADS: readonly { args: string[]; messages: Message[]; totalBytes: number }[] = [
  { args: ["-f", "{}/text"], messages: ["né"], totalBytes: 3 },
  { args: ["-f", "{}/text", "-b", "-n", "2"], messages: [hex("6ec3a9"), hex("6ec3a9")], totalBytes: 6 },
  { args: ["-f", "{}/text", "-n", "2", "--split", "4"], messages: ["né", "né"], totalBytes: 6 },
  { args: ["-f", "{}/bytes", "-b", "--split", "2"], messages: [hex("c3a9"), hex("ff")], totalBytes: 3 },
];
for (const { args, messages, totalBytes } of FILE_PAYLOADS) {
  Deno.test(`readClientSettings() sends ${totalBytes} bytes of a file, when told ${args.join(" ")}`, async () => {
    await withFiles(args, async (args) => {
      assertEquals(await messagesFor(args), messages);
      assertEquals((await settingsFor(args)).totalBytes, totalBytes);
    });
  });
}

const FILE_ERRORS = [
  { args: ["-f", "{}/none"], message: /^Cannot read ".*\/none": no such file; check the path$/ },
  { args: ["-f", "{}/none", "--split", "4"], message: /^Cannot read ".*\/none": no such file; check the path$/ },
  { args: ["-f", "{}"], message: /^Cannot read ".*": it is a directory$/ },
  { args: ["-f", "{}", "--split", "4"], message: /^Cannot read ".*": it is a directory$/ },
  { args: ["-f", "{}/bytes"], message: /^Input is not UTF-8 at byte 2, so it cannot be sent as text: use --binary$/ },
  { args: ["--ca", "{}/none"], message: /^Option --ca cannot be ".*\/none": no such file$/ },
  { args: ["--ca", "{}"], message: /^Option --ca cannot be ".*": it is a directory$/ },
  { args: ["--ca", "{}/empty"], message: /^Option --ca cannot be ".*\/empty": it is empty$/ },
  { args: ["--ca", "{}/ca.pem", "--ca", "{}/none"], message: /^Option --ca cannot be ".*\/none": no such file$/ },
  { args: ["--ca", "{}/text"], message: /^Option --ca cannot be ".*\/text": the file has no PEM block "CERTIFICATE"$/ },
  {
    args: ["--cert", "{}/key.pem", "--key", "{}/key.pem"],
    message: /^Option --cert cannot be ".*\/key.pem": the file has no PEM block "CERTIFICATE"$/,
  },
  {
    args: ["--cert", "{}/ca.pem", "--key", "{}/ca.pem"],
    message: /^Option --key cannot be ".*\/ca.pem": the file has no PEM block "PRIVATE KEY"$/,
  },
  {
    args: ["--cert", "{}/ca.pem", "--key", "{}/locked.pem"],
    message:
      /^Option --key cannot be ".*\/locked.pem": the key is encrypted: write it without a passphrase, as openssl/,
  },
];
for (const { args, message } of FILE_ERRORS) {
  Deno.test(`readClientSettings() says what is wrong, when told ${args.join(" ")}`, async () => {
    await withFiles(args, async (args) => {
      const error = await assertRejects(() => settingsFor(args), Error);
      assertMatch(error.message, message);
      assertMatch(error.name, /^(Usage|Payload)Error$/);
    });
  });
}
