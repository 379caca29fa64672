import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { logNameOf, spoolFileOf } from './log-name.ts';

test('every name becomes a file of its own in the folder, and comes back from it', () => {
  const dir = mkdtempSync(join(tmpdir(), 'drover-log-name-'));
  try {
    const names = [
      'out',
      '..',
      '.',
      '../x',
      '/etc/passwd',
      'a\\b',
      '~',
      '~out',
      '%7Eout',
      'ü'.repeat(200),
      'a'.repeat(256),
    ];
    const files = names.map((name) => spoolFileOf(dir, name));
    expect(files.map((file) => dirname(file))).toEqual(names.map(() => dir));
    expect(new Set(files).size).toBe(names.length);
    expect(files.map((file) => logNameOf(dir, basename(file)))).toEqual(names);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
