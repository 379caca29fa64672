import { isDroverError } from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import { secretBounds } from './secret-bounds.ts';
import { createSecretSealer, generateSecretKey, secretKeysFrom } from './secret-sealer.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const secrets = new Map([
  ['TOKEN', bytes('hunter2')],
  ['KEY', bytes('-----BEGIN\nabc\n-----END')],
]);
const withCode = (code: string) => expect.toSatisfy((error: unknown) => isDroverError(error, code));

describe('a sealer', () => {
  test('opens what it sealed, for the same lease alone', () => {
    const sealer = createSecretSealer([generateSecretKey()]);
    const sealed = sealer.seal('lease-1', secrets);
    expect(new Map(sealer.open('lease-1', sealed))).toEqual(secrets);
    expect(() => sealer.open('lease-2', sealed)).toThrow(withCode('SECRET_SEALED'));
  });

  test('shows nothing of a value, and never seals alike twice', () => {
    const sealer = createSecretSealer([generateSecretKey()]);
    const one = Buffer.from(sealer.seal('l', secrets));
    expect(one.includes('hunter2') || one.includes('TOKEN')).toBe(false);
    expect(one.equals(sealer.seal('l', secrets))).toBe(false);
  });

  test('opens what an older key has sealed, and seals with the first', () => {
    const [old, current] = [generateSecretKey(), generateSecretKey()];
    const sealed = createSecretSealer([old]).seal('l', secrets);
    const both = createSecretSealer([current, old]);
    expect(new Map(both.open('l', sealed))).toEqual(secrets);
    expect(() => createSecretSealer([old]).open('l', both.seal('l', secrets))).toThrow(withCode('SECRET_SEALED'));
  });

  test('takes nothing that was changed or cut', () => {
    const sealer = createSecretSealer([generateSecretKey()]);
    const sealed = sealer.seal('l', secrets);
    for (let at = 0; at < sealed.length; at += 1) {
      const changed = Uint8Array.from(sealed);
      changed[at]! ^= 1;
      expect(() => sealer.open('l', changed)).toThrow(withCode('SECRET_SEALED'));
      expect(() => sealer.open('l', sealed.slice(0, at))).toThrow(withCode('SECRET_SEALED'));
    }
  });

  test.each([
    ['a name', new Map([['two words', bytes('x')]])],
    ['an empty value', new Map([['A', bytes('')]])],
    ['a NUL', new Map([['A', bytes('a\0b')]])],
    ['a long value', new Map([['A', new Uint8Array(secretBounds.valueBytesMax + 1).fill(65)]])],
    ['many', new Map(Array.from({ length: 65 }, (_, i) => [`A${i}`, bytes('x')]))],
    ['much', new Map(Array.from({ length: 5 }, (_, i) => [`A${i}`, new Uint8Array(32 * 1024).fill(65)]))],
  ])('refuses %s', (_, wrong) => {
    const sealer = createSecretSealer([generateSecretKey()]);
    expect(() => sealer.seal('l', wrong)).toThrow(withCode('SECRET_INVALID'));
  });
});

test('keys come from lines of base64, and a wrong line is named without what stands on it', () => {
  const key = Buffer.from(generateSecretKey()).toString('base64');
  expect(secretKeysFrom(`# new\n${key}\n\n${key}\n`)).toHaveLength(2);
  expect(() => secretKeysFrom(`${key}\nmy-secret`)).toThrow(/^line 2 is no key(?!.*my-secret)/);
  expect(() => createSecretSealer([])).toThrow(withCode('SECRET_KEY_INVALID'));
});
