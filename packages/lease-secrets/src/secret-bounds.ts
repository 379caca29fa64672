import { DroverError } from '@drover/lease-kit';

/** Bounds of the secrets of one job. */
export const secretBounds = {
  /** Secrets of one job. */
  countMax: 64,
  nameLengthMax: 128,
  /** Bytes of one value. */
  valueBytesMax: 32 * 1024,
  /** Bytes of all values of one job. */
  totalBytesMax: 128 * 1024,
} as const;

const namePattern = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Throws SECRET_INVALID for names and values beyond {@link secretBounds}, and for names that are no names of variables. What it
 * says holds no value.
 */
export function checkSecrets(secrets: ReadonlyMap<string, Uint8Array>, where = 'secrets'): void {
  const { countMax, nameLengthMax, valueBytesMax, totalBytesMax } = secretBounds;
  if (secrets.size > countMax) throw invalid(where, `${secrets.size} of them`, `at most ${countMax}`);
  let total = 0;
  for (const [name, value] of secrets) {
    if (!namePattern.test(name) || name.length > nameLengthMax) {
      const shown = JSON.stringify(name.slice(0, 80));
      throw invalid(where, `the name ${shown}`, `a letter or _, then letters, digits and _, at most ${nameLengthMax}`);
    }
    if (value.length === 0 || value.length > valueBytesMax) {
      throw invalid(`${where}.${name}`, `a value of ${value.length} bytes`, `1 to ${valueBytesMax}`);
    }
    // A variable of a process ends at the first NUL: a part of the secret would be given for the whole.
    if (value.includes(0)) throw invalid(`${where}.${name}`, 'a value with a NUL byte', 'text without NUL');
    total += value.length;
  }
  if (total > totalBytesMax) throw invalid(where, `${total} bytes in all`, `at most ${totalBytesMax}`);
}

function invalid(where: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'SECRET_INVALID',
    advice: 'fix-input',
    message: `${where}: ${problem}; allowed: ${allowed}`,
    details: { where },
  });
}
