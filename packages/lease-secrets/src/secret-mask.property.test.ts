import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SecretMask } from './secret-mask.ts';

/** Carries a text as an uploader does: from what was shown last, in pieces of any size. */
function carried(mask: SecretMask, text: string, sizes: Iterator<number>): string {
  const bytes = Buffer.from(text, 'latin1');
  let shown = '';
  let known = 0;
  let hidden = 0;
  while (shown.length < bytes.length) {
    known = Math.min(bytes.length, Math.max(known, shown.length) + sizes.next().value!);
    const piece = Buffer.from(bytes.subarray(shown.length, known));
    const blotted = mask.blot(piece, known === bytes.length, hidden);
    shown += piece.subarray(0, blotted.shown).toString('latin1');
    hidden = blotted.hidden;
  }
  return shown;
}

const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 4, maxLength: 8 });
const noise = fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' ', '\n'), maxLength: 30 });

test('no secret shows, however the text is cut; nothing else changes, and no offset moves', () => {
  fc.assert(
    fc.property(
      fc.array(letters, { minLength: 1, maxLength: 3 }),
      fc.array(fc.oneof(noise, fc.nat(2)), { maxLength: 12 }),
      fc.infiniteStream(fc.integer({ min: 1, max: 7 })),
      (secrets, parts, sizes) => {
        const text = parts.map((part) => (typeof part === 'string' ? part : secrets[part % secrets.length])).join('');
        const mask = new SecretMask(secrets.map((secret) => Buffer.from(secret)));
        const shown = carried(mask, text, sizes);
        expect(shown).toHaveLength(text.length);
        for (const secret of secrets) expect(shown).not.toContain(secret);
        expect(shown).toBe(Buffer.from(blottedAtOnce(text, secrets)).toString());
      },
    ),
    { numRuns: 2_000 },
  );
});

/** The plain definition: every byte that belongs to an occurrence is a star. */
function blottedAtOnce(text: string, secrets: readonly string[]): string {
  const isHidden = new Set<number>();
  for (const secret of [...secrets, ...secrets.map((one) => Buffer.from(one).toString('base64'))]) {
    for (let at = text.indexOf(secret); at >= 0; at = text.indexOf(secret, at + 1)) {
      for (let n = 0; n < secret.length; n += 1) isHidden.add(at + n);
    }
  }
  return [...text].map((letter, at) => (isHidden.has(at) ? '*' : letter)).join('');
}

test('what stands before a secret that is held back as a whole is left as it is', () => {
  const mask = new SecretMask(['accb', 'baccbaa'].map((secret) => Buffer.from(secret)));
  expect(carried(mask, 'baccba', [4, 1, 7].values())).toBe('b****a');
});

test('every line of a secret is blotted out, and its base64; short values are not', () => {
  const mask = new SecretMask([Buffer.from('first line\nsecond line'), Buffer.from('abc')]);
  expect(mask.blotText('x second line y abc')).toBe('x *********** y abc');
  expect(mask.blotText(Buffer.from('first line\nsecond line').toString('base64'))).toMatch(/^\*+$/);
});
