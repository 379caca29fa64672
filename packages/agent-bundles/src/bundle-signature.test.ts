import { isDroverError } from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import type { BundleFault } from './bundle-errors.ts';
import {
  checkBundleStatement,
  readBundleStatement,
  signBundle,
  verifyBundleSignature,
  type BundleStatement,
  type WantedBundle,
} from './bundle-signature.ts';
import { generateSigningKey, parseSigningKey, parseTrustedKey } from './signing-key.ts';

const withCode = (code: BundleFault): unknown => expect.toSatisfy((error) => isDroverError(error, code), code);
const digest = { hash: 'a'.repeat(64), sizeBytes: 7 };
const statement: BundleStatement = { version: '1.2.0', platform: 'linux-x64', digest };
const ours = generateSigningKey();
const theirs = generateSigningKey();
const trusted = [parseTrustedKey(ours.publicKey)];

describe('a signature', () => {
  test('says what was signed to who trusts the key', () => {
    expect(verifyBundleSignature(signBundle(statement, ours.privateKeyPem), trusted)).toEqual(statement);
  });

  test('of one key beside another is taken by who trusts either: that is how keys change', () => {
    const both = signBundle(statement, ours.privateKeyPem, signBundle(statement, theirs.privateKeyPem));
    expect(verifyBundleSignature(both, trusted)).toEqual(statement);
    expect(verifyBundleSignature(both, [parseTrustedKey(theirs.publicKey)])).toEqual(statement);
    expect(readBundleStatement(both).keyIds).toHaveLength(2);
    const other = signBundle({ ...statement, version: '1.3.0' }, theirs.privateKeyPem);
    expect(() => signBundle(statement, ours.privateKeyPem, other)).toThrow(
      withCode('BUNDLE_SIGNATURE_INVALID') as Error,
    );
  });

  test('of a key that nobody trusts is refused', () => {
    const document = signBundle(statement, theirs.privateKeyPem);
    expect(() => verifyBundleSignature(document, trusted)).toThrow(withCode('BUNDLE_KEY_UNKNOWN') as Error);
    expect(() => verifyBundleSignature(document, [])).toThrow(withCode('BUNDLE_KEY_UNKNOWN') as Error);
  });

  test('that is not that of its key is refused: changed, of other words, or of another kind of document', () => {
    const envelope = JSON.parse(signBundle(statement, ours.privateKeyPem));
    const changed = Buffer.from(JSON.stringify({ ...statement, version: '9.0.0' })).toString('base64');
    const [{ keyid }] = envelope.signatures;
    const [{ sig }] = JSON.parse(signBundle(statement, theirs.privateKeyPem)).signatures;
    for (const wrong of [
      { ...envelope, payload: changed },
      { ...envelope, signatures: [{ keyid, sig }] },
      { ...envelope, signatures: [{ keyid, sig: '' }] },
    ]) {
      expect(() => verifyBundleSignature(JSON.stringify(wrong), trusted)).toThrow(
        withCode('BUNDLE_SIGNATURE_WRONG') as Error,
      );
    }
    for (const wrong of [
      '',
      '{}',
      '[]',
      JSON.stringify({ ...envelope, payloadType: 'text/plain' }),
      ' '.repeat(20_000),
    ]) {
      expect(() => verifyBundleSignature(wrong, trusted)).toThrow(withCode('BUNDLE_SIGNATURE_INVALID') as Error);
    }
  });

  test('of something that is no statement is refused, however well it is signed', () => {
    for (const wrong of [
      { ...statement, version: 'new' },
      { ...statement, platform: '' },
    ]) {
      const document = signBundle(wrong, ours.privateKeyPem);
      expect(() => verifyBundleSignature(document, trusted)).toThrow(withCode('BUNDLE_SIGNATURE_INVALID') as Error);
    }
  });
});

describe('a statement', () => {
  const wanted: WantedBundle = {
    version: '1.2.0',
    digest,
    running: '1.1.0',
    allowDowngrade: false,
    platform: 'linux-x64',
  };
  test.each<[string, Partial<WantedBundle>, BundleFault]>([
    ['another version', { version: '1.2.1' }, 'BUNDLE_VERSION_WRONG'],
    ['another digest', { digest: { ...digest, sizeBytes: 8 } }, 'BUNDLE_DIGEST_WRONG'],
    ['another platform', { platform: 'linux-arm64' }, 'BUNDLE_PLATFORM_WRONG'],
    ['an older version', { running: '1.3.0' }, 'BUNDLE_DOWNGRADE'],
    ['an older version by its pre-release', { running: '1.3.0-rc.1' }, 'BUNDLE_DOWNGRADE'],
  ])('about %s is refused', (_, other, code) => {
    expect(() => checkBundleStatement(statement, { ...wanted, ...other })).toThrow(withCode(code) as Error);
  });

  test.each<[string, Partial<WantedBundle>]>([
    ['a newer version', {}],
    ['the same version', { running: '1.2.0' }],
    ['an older one, where that is allowed', { running: '2.0.0', allowDowngrade: true }],
    ['the first one', { running: '' }],
  ])('about %s is taken', (_, other) => {
    checkBundleStatement(statement, { ...wanted, ...other });
  });

  test('about any platform is taken on each', () => {
    checkBundleStatement({ ...statement, platform: 'any' }, { ...wanted, platform: 'darwin-arm64' });
  });
});

test.each([
  '',
  'ed25519:',
  `ed25519:${Buffer.alloc(31).toString('base64')}`,
  `rsa:${Buffer.alloc(32).toString('base64')}`,
])('no key: %j', (text) => {
  expect(() => parseTrustedKey(text)).toThrow(withCode('BUNDLE_KEY_INVALID') as Error);
});

test('a private key that is none, or of another kind, is refused', () => {
  for (const pem of ['', 'secret', ours.privateKeyPem.slice(40)]) {
    expect(() => parseSigningKey(pem)).toThrow(withCode('BUNDLE_KEY_INVALID') as Error);
  }
});
