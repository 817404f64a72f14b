/** A certificate authority for one test run, and certificates that it signs. */

import forge from "npm:node-forge@1.4.3";

/** A certificate and its private key, as PEM text. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** Deviations from the usual certificate. */
export interface CertificateOptions {
  /** The DNS name instead of localhost and 127.0.0.1. */
  readonly name?: string;
  /** Whether the certificate expired yesterday. */
  readonly hasExpired?: boolean;
}

/** An authority that signs certificates. */
export interface Authority {
  readonly cert: string;
  sign(commonName: string, options?: CertificateOptions): Promise<Certificate>;
  /** Makes a subordinate authority. */
  intermediate(commonName: string): Promise<Authority>;
}

const DAY_MS = 24 * 60 * 60 * 1000;

const HERE = [{ type: 2, value: "localhost" }, { type: 7, ip: "127.0.0.1" }];

/** Makes an authority. Its certificates are valid for a day, for 127.0.0.1 and localhost or for one other name. */
export async function createAuthority(): Promise<Authority> {
  const keys = await createKeys();
  const subject = [{ name: "commonName", value: "wsproof test authority" }];
  return authorityOf(subject, keys, subject, keys.privateKey);
}

/** Makes a self-signed certificate, a server's or, with `cA`, an authority's. */
export async function selfSigned(cA: boolean): Promise<Certificate> {
  const keys = await createKeys();
  const subject = [{ name: "commonName", value: "localhost" }];
  const certificate = unsigned("01", subject, keys.publicKey);
  certificate.setIssuer(subject);
  certificate.setExtensions([{ name: "basicConstraints", cA, critical: true }, {
    name: "subjectAltName",
    altNames: HERE,
  }]);
  certificate.sign(keys.privateKey, forge.md.sha256.create());
  return { cert: forge.pki.certificateToPem(certificate), key: keys.pem };
}

type Subject = { name: string; value: string }[];
type Keys = Awaited<ReturnType<typeof createKeys>>;

function authorityOf(subject: Subject, keys: Keys, issuer: Subject, issuerKey: Keys["privateKey"]): Authority {
  const authority = unsigned("01", subject, keys.publicKey);
  authority.setIssuer(issuer);
  authority.setExtensions([{ name: "basicConstraints", cA: true, critical: true }, {
    name: "keyUsage",
    keyCertSign: true,
  }]);
  authority.sign(issuerKey, forge.md.sha256.create());
  let serial = 1;
  return {
    cert: forge.pki.certificateToPem(authority),
    async intermediate(commonName) {
      return authorityOf([{ name: "commonName", value: commonName }], await createKeys(), subject, keys.privateKey);
    },
    async sign(commonName, { name, hasExpired = false } = {}) {
      const leafKeys = await createKeys();
      serial++;
      const leaf = unsigned(
        serial.toString(16).padStart(2, "0"),
        [{ name: "commonName", value: commonName }],
        leafKeys.publicKey,
      );
      if (hasExpired) {
        leaf.validity.notBefore = new Date(Date.UTC(2020, 0, 1));
        leaf.validity.notAfter = new Date(Date.UTC(2021, 0, 1));
      }
      leaf.setIssuer(subject);
      leaf.setExtensions([
        { name: "subjectAltName", altNames: name === undefined ? HERE : [{ type: 2, value: name }] },
        { name: "extKeyUsage", serverAuth: true, clientAuth: true },
      ]);
      leaf.sign(keys.privateKey, forge.md.sha256.create());
      return { cert: forge.pki.certificateToPem(leaf), key: leafKeys.pem };
    },
  };
}

function unsigned(serialNumber: string, subject: { name: string; value: string }[], publicKey: unknown) {
  const certificate = forge.pki.createCertificate();
  certificate.serialNumber = serialNumber;
  certificate.publicKey = publicKey;
  certificate.validity.notBefore = new Date(Date.now() - DAY_MS);
  certificate.validity.notAfter = new Date(Date.now() + DAY_MS);
  certificate.setSubject(subject);
  return certificate;
}

/** The runtime makes keys in milliseconds; the library needs seconds. */
async function createKeys() {
  const algorithm = {
    name: "RSASSA-PKCS1-v1_5",
    modulusLength: 2048,
    publicExponent: Uint8Array.of(1, 0, 1),
    hash: "SHA-256",
  };
  const { privateKey: exportable } = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const der = new Uint8Array(await crypto.subtle.exportKey("pkcs8", exportable));
  const pem = `-----BEGIN PRIVATE KEY-----\n${der.toBase64().replace(/.{64}/g, "$&\n")}\n-----END PRIVATE KEY-----\n`;
  const privateKey = forge.pki.privateKeyFromPem(pem);
  return { pem, privateKey, publicKey: forge.pki.setRsaPublicKey(privateKey.n, privateKey.e) };
}
