import { sign, verify } from 'node:crypto';
import { digestEquals, formatDigest, type Digest } from '@drover/content-store';
import { z } from 'zod';
import { bundleRefused } from './bundle-errors.ts';
import { checkBundlePlatform, checkBundleVersion, isOlderVersion, ownPlatform } from './bundle-name.ts';
import { parseSigningKey, type TrustedKey } from './signing-key.ts';

/** What a signature says of a bundle. */
export interface BundleStatement {
  readonly version: string;
  readonly platform: string;
  /** Of the archive. */
  readonly digest: Digest;
}

/** It keeps a signature of a bundle from being taken for one of anything else. */
const payloadType = 'application/vnd.drover.bundle.v1+json';

/** Bytes of a signature document. */
export const bundleSignatureBytesMax = 8 * 1024;

const envelopeSchema = z.object({
  payloadType: z.literal(payloadType),
  payload: z.base64().max(4_096),
  signatures: z
    .array(z.object({ keyid: z.string().max(64), sig: z.base64().max(128) }))
    .min(1)
    .max(8),
});
const statementSchema = z.strictObject({
  version: z.string(),
  platform: z.string(),
  digest: z.strictObject({ hash: z.string().regex(/^[0-9a-f]{64}$/), sizeBytes: z.int().min(0) }),
});

/**
 * Signs a bundle: the document is an envelope of DSSE (Dead Simple Signing Envelope v1, github.com/secure-systems-lab/dsse)
 * whose payload is the statement, signed with Ed25519. With `beside`, a document of the same statement, the signatures of
 * both are in the result, so that machines that trust either key take it. Throws `BUNDLE_KEY_INVALID`,
 * `BUNDLE_SIGNATURE_INVALID`.
 */
export function signBundle(statement: BundleStatement, privateKeyPem: string, beside?: string): string {
  const { keyId, key } = parseSigningKey(privateKeyPem);
  const { version, platform, digest } = statement;
  const payload = Buffer.from(
    JSON.stringify({ version, platform, digest: { hash: digest.hash, sizeBytes: digest.sizeBytes } }),
  );
  const before = beside === undefined ? undefined : parseEnvelope(beside);
  if (before !== undefined && !before.payload.equals(payload)) {
    throw bundleRefused('BUNDLE_SIGNATURE_INVALID', 'the signature document that is there speaks of another bundle');
  }
  const others = (before?.signatures ?? []).filter(({ keyid }) => keyid !== keyId);
  const signature = { keyid: keyId, sig: sign(null, preAuthEncoding(payload), key).toString('base64') };
  return `${JSON.stringify({ payloadType, payload: payload.toString('base64'), signatures: [...others, signature] })}\n`;
}

/**
 * What a signature document says, if one of `keys` signed it. Throws `BUNDLE_SIGNATURE_INVALID`, `BUNDLE_KEY_UNKNOWN`,
 * `BUNDLE_SIGNATURE_WRONG`.
 */
export function verifyBundleSignature(document: string, keys: readonly TrustedKey[]): BundleStatement {
  const { payload, signatures } = parseEnvelope(document);
  const signed = preAuthEncoding(payload);
  let known = false;
  for (const { keyid, sig } of signatures) {
    for (const { key } of keys.filter(({ keyId }) => keyId === keyid)) {
      known = true;
      if (verify(null, signed, key, Buffer.from(sig, 'base64'))) return parseStatement(payload);
    }
  }
  if (known) {
    throw bundleRefused('BUNDLE_SIGNATURE_WRONG', 'the signature of the bundle is not that of the key that it names');
  }
  const named = signatures.map(({ keyid }) => keyid).join(', ');
  const trusted = keys.map(({ keyId }) => keyId).join(', ') || 'none';
  throw bundleRefused('BUNDLE_KEY_UNKNOWN', `the bundle is signed by ${named}; trusted here: ${trusted}`);
}

/** What a signature document says, whoever signed it: for display, never for trust. Throws `BUNDLE_SIGNATURE_INVALID`. */
export function readBundleStatement(document: string): BundleStatement & { readonly keyIds: readonly string[] } {
  const { payload, signatures } = parseEnvelope(document);
  return { ...parseStatement(payload), keyIds: signatures.map(({ keyid }) => keyid) };
}

/** What a machine asks of a bundle before it takes it. */
export interface WantedBundle {
  readonly version: string;
  readonly digest: Digest;
  /** The version that runs; absent or no version: none is older. */
  readonly running?: string;
  readonly allowDowngrade: boolean;
  /** Default: that of this machine. */
  readonly platform?: string;
}

/** Throws `BUNDLE_VERSION_WRONG`, `BUNDLE_DIGEST_WRONG`, `BUNDLE_PLATFORM_WRONG`, `BUNDLE_DOWNGRADE`. */
export function checkBundleStatement(statement: BundleStatement, wanted: WantedBundle): void {
  if (statement.version !== wanted.version) {
    throw bundleRefused(
      'BUNDLE_VERSION_WRONG',
      `version ${wanted.version} is wanted, and ${statement.version} was signed`,
    );
  }
  if (!digestEquals(statement.digest, wanted.digest)) {
    throw bundleRefused(
      'BUNDLE_DIGEST_WRONG',
      `the bundle ${formatDigest(wanted.digest)} is wanted, and ${formatDigest(statement.digest)} was signed`,
    );
  }
  const platform = wanted.platform ?? ownPlatform;
  if (statement.platform !== 'any' && statement.platform !== platform) {
    throw bundleRefused(
      'BUNDLE_PLATFORM_WRONG',
      `the bundle is for ${statement.platform}, and this machine is ${platform}`,
    );
  }
  if (!wanted.allowDowngrade && wanted.running !== undefined && isOlderVersion(statement.version, wanted.running)) {
    throw bundleRefused(
      'BUNDLE_DOWNGRADE',
      `version ${statement.version} is older than ${wanted.running}, which runs; going back has to be allowed`,
    );
  }
}

function parseEnvelope(document: string) {
  const refuse = (why: string): Error =>
    bundleRefused('BUNDLE_SIGNATURE_INVALID', `the signature document is none: ${why}`);
  if (document.length > bundleSignatureBytesMax) throw refuse(`it has more than ${bundleSignatureBytesMax} bytes`);
  let value: unknown;
  try {
    value = JSON.parse(document);
  } catch {
    throw refuse('it is no JSON');
  }
  const parsed = envelopeSchema.safeParse(value);
  if (!parsed.success) {
    const [fault] = parsed.error.issues;
    throw refuse(`${fault!.path.join('.') || 'the whole'}: ${fault!.message}`);
  }
  return { payload: Buffer.from(parsed.data.payload, 'base64'), signatures: parsed.data.signatures };
}

function parseStatement(payload: Uint8Array): BundleStatement {
  try {
    const statement = statementSchema.parse(JSON.parse(Buffer.from(payload).toString('utf8')));
    checkBundleVersion(statement.version);
    checkBundlePlatform(statement.platform);
    return statement;
  } catch (cause) {
    throw bundleRefused('BUNDLE_SIGNATURE_INVALID', 'what was signed is no statement about a bundle', {
      why: String(cause).slice(0, 200),
    });
  }
}

/** PAE of DSSE: what is signed says how long its parts are, so that no other split of the same bytes is meant. */
function preAuthEncoding(payload: Uint8Array): Buffer {
  const head = `DSSEv1 ${payloadType.length} ${payloadType} ${payload.byteLength} `;
  return Buffer.concat([Buffer.from(head), payload]);
}
