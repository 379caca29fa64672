import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { openPrivateFolder, readPrivately, writePrivately } from './private-files.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-private-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

test('a file is whole whenever its writer is killed, and what it left is cleared away', async () => {
  const path = join(dir, 'file.json');
  const child = join(import.meta.dirname, 'write-privately.test.child.ts');
  let before = -1;
  for (const writes of [1, 3, 7, 12]) {
    const writer = spawn(process.execPath, ['--conditions=@drover/source', child, path], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let seen = 0;
    for await (const data of writer.stdout) {
      seen += (data as Buffer).length;
      if (seen >= writes) break;
    }
    writer.kill('SIGKILL');
    if (writer.signalCode === null) await once(writer, 'exit');
    const kept = readPrivately(path, (value) => value as { readonly round: number; readonly filler: string });
    expect(kept?.filler).toBe(String(kept!.round % 10).repeat(200_000));
    expect(kept!.round).toBeGreaterThanOrEqual(writes - 1);
    before = Math.max(before, kept!.round);
  }
  expect(before).toBeGreaterThan(0);
  writeFileSync(`${path}.1234.next`, '{"torn');
  openPrivateFolder(dir);
  // Whoever writes it may be at work.
  expect(readdirSync(dir)).toContain('file.json.1234.next');
  const old = Date.now() / 1_000 - 120;
  for (const name of readdirSync(dir)) if (name.endsWith('.next')) utimesSync(join(dir, name), old, old);
  openPrivateFolder(dir);
  expect(readdirSync(dir)).toEqual(['file.json']);
});

test('what is written is its owner’s alone; what is torn or not what it should be is refused by name', () => {
  const path = join(dir, 'inner/file.json');
  openPrivateFolder(join(dir, 'inner'));
  writePrivately(path, { a: 1 });
  expect([statSync(path).mode & 0o777, statSync(join(dir, 'inner')).mode & 0o777]).toEqual([0o600, 0o700]);
  const read = () => readPrivately(path, (value) => (value as { readonly a?: number }).a);
  expect(read()).toBe(1);
  for (const text of ['{"a":', '{}', 'null']) {
    writeFileSync(path, text);
    expect(read).toThrow(
      expect.objectContaining({ code: 'HERD_FILE_INVALID', message: expect.stringContaining(path) }),
    );
  }
  rmSync(path);
  expect(read()).toBeUndefined();
});
