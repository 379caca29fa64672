import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { limitsKeys } from './limits-keys.ts';
import { projectsWithCode } from './projects-with-code.ts';
import type { FileTally } from './tally-reporter.ts';
import { countTests } from './test-check.ts';
import { workspaceRoot } from './workspace-root.ts';

const file = (tally: Partial<FileTally>): FileTally => ({
  project: 'lease-kit',
  file: 'packages/lease-kit/src/clock.test.ts',
  passed: 2,
  failed: 0,
  skipped: [],
  errors: [],
  ...tally,
});
const run = { projects: ['lease-kit'], status: 0, output: 'log' };

test('tests are added up over files, and a skip carries the key of its name', () => {
  const files = [
    file({}),
    file({ passed: 1, skipped: ['as root [limits:root-only] > boots [limits:needs-kvm]', 'flies'] }),
  ];
  expect(countTests({ files, strayErrors: [] }, run)).toMatchObject({
    passed: 3,
    failed: 0,
    testsRun: 3,
    skips: [
      {
        name: 'packages/lease-kit/src/clock.test.ts: as root [limits:root-only] > boots [limits:needs-kvm]',
        key: 'needs-kvm',
      },
      { name: 'packages/lease-kit/src/clock.test.ts: flies', key: undefined },
    ],
  });
});

test('a project with code and no test fails, and so does one whose tests are all skipped', () => {
  const tally = { files: [file({}), file({ project: 'cli', passed: 0, skipped: ['a'] })], strayErrors: [] };
  const result = countTests(tally, { ...run, projects: ['lease-kit', 'cli', 'server'] });
  expect(result.failed).toBe(2);
  expect(result.output).toContain('project cli has no test\nproject server has no test\n');
});

test('a failed hook, an unhandled error, and a bad end without any failure each count', () => {
  const errors = ['This test file left open: 1 × Timeout.'];
  expect(countTests({ files: [file({ errors })], strayErrors: ['boom'] }, { ...run, status: 1 }).failed).toBe(2);
  expect(countTests({ files: [file({})], strayErrors: [] }, { ...run, status: 1 }).failed).toBe(1);
  expect(countTests(undefined, run)).toMatchObject({ passed: 0, failed: 1, testsRun: 0 });
  expect(countTests({ files: [], strayErrors: [] }, { ...run, projects: [] }).failed).toBe(1);
});

test('a project counts once its source is more than empty modules', async () => {
  const root = await mkdtemp(join(tmpdir(), 'drover-projects-'));
  onTestFinished(() => rm(root, { recursive: true, force: true }));
  for (const dir of ['packages/empty/src', 'packages/full/src/deep', 'apps/none']) {
    await mkdir(join(root, dir), { recursive: true });
  }
  await writeFile(join(root, 'packages/empty/src/index.ts'), 'export {};\n');
  await writeFile(join(root, 'packages/full/src/index.ts'), 'export {};\n');
  await writeFile(join(root, 'packages/full/src/deep/claim.ts'), 'export const claim = 1;\n');
  expect(projectsWithCode(root)).toEqual(['full']);
});

test('the keys of LIMITS.md are read from its table', async () => {
  expect(limitsKeys('| `needs-kvm` | microVMs | no /dev/kvm |\n| key | what |\n`not-a-row` text')).toEqual(
    new Set(['needs-kvm']),
  );
  expect(limitsKeys(await readFile(join(workspaceRoot, 'docs/LIMITS.md'), 'utf8'))).toContain('root-only');
});
