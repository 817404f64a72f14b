/** A certificate authority made for one test run, and certificates signed by it. */

import forge from "npm:node-forge@1.4.3";

/** A certificate and its private key, as PEM text. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

/** An authority, and a way to let it sign. */
export interface Authority {
  readonly cert: string;
  /** Signs a certificate for 127.0.0.1 and localhost, or for one other name, whatever that has in it. */
  sign(commonName: string, dnsName?: string): Promise<Certificate>;
}

const DAY_MS = 24 * 60 * 60 * 1000;

/** Makes an authority; its certificates hold for a day. */
export async function createAuthority(): Promise<Authority> {
  const authorityKeys = await createKeys();
  const subject = [{ name: "commonName", value: "wsproof test authority" }];
  const authority = unsigned("01", subject, authorityKeys.publicKey);
  authority.setIssuer(subject);
  authority.setExtensions([{ name: "basicConstraints", cA: true, critical: true }, {
    name: "keyUsage",
    keyCertSign: true,
  }]);
  authority.sign(authorityKeys.privateKey, forge.md.sha256.create());
  let serial = 1;
  return {
    cert: forge.pki.certificateToPem(authority),
    async sign(commonName, dnsName) {
      const keys = await createKeys();
      serial++;
      const leaf = unsigned(
        serial.toString(16).padStart(2, "0"),
        [{ name: "commonName", value: commonName }],
        keys.publicKey,
      );
      leaf.setIssuer(subject);
      leaf.setExtensions([
        {
          name: "subjectAltName",
          altNames: dnsName === undefined
            ? [{ type: 2, value: "localhost" }, { type: 7, ip: "127.0.0.1" }]
            : [{ type: 2, value: dnsName }],
        },
        { name: "extKeyUsage", serverAuth: true, clientAuth: true },
      ]);
      leaf.sign(authorityKeys.privateKey, forge.md.sha256.create());
      return { cert: forge.pki.certificateToPem(leaf), key: keys.pem };
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

/** The runtime makes keys in milliseconds, where the library needs seconds. */
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
