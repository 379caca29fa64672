// The library finds its algorithms through tsyringe, which asks for this before it is loaded.
import 'reflect-metadata';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
  type Extension,
} from '@peculiar/x509';
import { createPrivateKey, createPublicKey, randomBytes, webcrypto, type KeyObject } from 'node:crypto';

/** A private key and the certificate of its public key, both in DER (PKCS #8 and X.509). */
export interface KeyWithCertificate {
  readonly key: Buffer;
  readonly certificate: Buffer;
}

/** When a certificate is valid, by the wall clock. */
export interface Validity {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}

const p256 = { name: 'ECDSA', namedCurve: 'P-256' };
const signing = { name: 'ECDSA', hash: 'SHA-256' };
const serverAuth = '1.3.6.1.5.5.7.3.1';
const clientAuth = '1.3.6.1.5.5.7.3.2';
/** X.520's attribute `name`: unlike the common name it may be long, and nothing decides by it. */
const nameAttribute = '2.5.4.41';

/** A new authority (EC P-256, SHA-256), which signs certificates of ends alone. */
export async function createAuthority(agentId: string, validity: Validity): Promise<KeyWithCertificate> {
  const keys = await webcrypto.subtle.generateKey(p256, true, ['sign', 'verify']);
  const subject = commonName(`Drover herd authority of ${agentId}`.slice(0, 64));
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject,
    issuer: subject,
    ...datesOf(validity),
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm: signing,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    key: Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)),
    certificate: Buffer.from(certificate.rawData),
  };
}

/** A new key and certificate for an agent's TLS, which names the agent and no host. */
export async function createAgentCertificate(
  authority: KeyWithCertificate,
  agentId: string,
  validity: Validity,
): Promise<KeyWithCertificate> {
  const keys = await webcrypto.subtle.generateKey(p256, true, ['sign', 'verify']);
  const certificate = await sign(authority, keys.publicKey, {
    subject: commonName(agentId.slice(0, 64)),
    uri: `urn:drover:agent:${agentId}`,
    usage: serverAuth,
    validity,
  });
  return { key: Buffer.from(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey)), certificate };
}

/** A certificate for a client's public key. The common name is what decides; the name is for people. */
export async function createClientCertificate(
  authority: KeyWithCertificate,
  client: { readonly commonName: string; readonly name: string; readonly key: KeyObject },
  validity: Validity,
): Promise<Buffer> {
  const spki = client.key.export({ type: 'spki', format: 'der' });
  const publicKey = await webcrypto.subtle.importKey('spki', spki, p256, true, ['verify']);
  const subject = new Name([
    { CN: [client.commonName] },
    ...(client.name === '' ? [] : [{ [nameAttribute]: [{ utf8String: client.name }] }]),
  ]);
  return sign(authority, publicKey, { subject, usage: clientAuth, validity });
}

async function sign(
  authority: KeyWithCertificate,
  publicKey: webcrypto.CryptoKey,
  end: { readonly subject: Name; readonly uri?: string; readonly usage: string; readonly validity: Validity },
): Promise<Buffer> {
  const authorityKey = createPrivateKey({ key: authority.key, type: 'pkcs8', format: 'der' });
  const signingKey = await webcrypto.subtle.importKey('pkcs8', authority.key, p256, false, ['sign']);
  const authoritySpki = createPublicKey(authorityKey).export({ type: 'spki', format: 'der' });
  const authorityPublic = await webcrypto.subtle.importKey('spki', authoritySpki, p256, true, ['verify']);
  const extensions: Extension[] = [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([end.usage], true),
    await AuthorityKeyIdentifierExtension.create(authorityPublic),
    await SubjectKeyIdentifierExtension.create(publicKey),
  ];
  if (end.uri !== undefined) extensions.push(new SubjectAlternativeNameExtension([{ type: 'url', value: end.uri }]));
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: end.subject,
    issuer: new X509Certificate(authority.certificate).subjectName,
    ...datesOf(end.validity),
    publicKey,
    signingKey,
    signingAlgorithm: signing,
    extensions,
  });
  return Buffer.from(certificate.rawData);
}

function commonName(text: string): Name {
  return new Name([{ CN: [{ utf8String: text }] }]);
}

/** Positive, and random as RFC 5280 advises. */
function serialNumber(): string {
  return `01${randomBytes(15).toString('hex')}`;
}

function datesOf({ notBeforeMs, notAfterMs }: Validity) {
  return { notBefore: new Date(notBeforeMs), notAfter: new Date(notAfterMs) };
}
