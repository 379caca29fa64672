import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { tallyFileVariable, type TestTally } from './tally-reporter.ts';

test('a test file that leaves a timer or a socket open fails, and one that closes them passes', async () => {
  const vitest = join(import.meta.dirname, '../../../node_modules/vitest/vitest.mjs');
  const config = join(import.meta.dirname, 'fixtures/open-resources/vitest.config.ts');
  const folder = await mkdtemp(join(tmpdir(), 'drover-open-resources-'));
  onTestFinished(() => rm(folder, { recursive: true, force: true }));
  const tallyFile = join(folder, 'tally.json');
  const status = await new Promise((resolve) => {
    const env = { ...process.env, [tallyFileVariable]: tallyFile };
    execFile(process.execPath, [vitest, 'run', '--config', config], { env }, (error) => resolve(error?.code ?? 0));
  });
  const tally = JSON.parse(await readFile(tallyFile, 'utf8')) as TestTally;
  const errors = Object.fromEntries(tally.files.map(({ file, errors }) => [basename(file, '.fixture.ts'), errors]));
  expect(status).toBe(1);
  expect(errors).toEqual({
    'leaves-timer': [expect.stringContaining('left open: 1 × Timeout')],
    'leaves-socket': [expect.stringContaining('left open: 1 × TCPServerWrap')],
    'leaves-nothing': [],
  });
});
