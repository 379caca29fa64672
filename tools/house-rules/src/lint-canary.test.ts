import { join } from 'node:path';
import { ESLint } from 'eslint';
import { beforeAll, describe, expect, test } from 'vitest';
import { writeProjectGraph } from './project-graph.ts';

const root = join(import.meta.dirname, '../../..');
let eslint: ESLint;

beforeAll(async () => {
  await writeProjectGraph();
  eslint = new ESLint({ cwd: root });
});

/** The rules that a file at `path` with `code` breaks, under the workspace's own configuration. */
async function broken(path: string, code: string): Promise<string[]> {
  const results = await eslint.lintText(code, { filePath: join(root, path) });
  return results.flatMap(({ messages }) => messages.map(({ ruleId, message }) => ruleId ?? message));
}

const boundaries = '@nx/enforce-module-boundaries';

describe('layers', () => {
  test.each([
    ['contract → pure', 'packages/lease-kit', '@drover/lease-matching'],
    ['pure → core', 'packages/lease-matching', '@drover/lease-store'],
    ['core → io', 'packages/lease-store', '@drover/lease-store-postgres'],
    ['core → engine', 'packages/task-sources', '@drover/lease-server'],
    ['io → io', 'packages/lease-store-postgres', '@drover/postgres-embedded'],
    ['engine → io', 'packages/lease-server', '@drover/lease-store-postgres'],
    ['lease type → engine', 'packages/lease-type-job', '@drover/lease-agent'],
    ['library → app support', 'packages/lease-server', '@drover/app-config'],
    ['library → tool', 'packages/lease-store', '../../../tools/checks/src/main.ts'],
  ])('%s is refused', async (_name, folder, target) => {
    expect(await broken(`${folder}/src/canary.ts`, `import '${target}';\n`)).toEqual([boundaries]);
  });

  test('what the law allows is not refused', async () => {
    expect(await broken('packages/lease-store-postgres/src/canary.ts', `import '@drover/lease-store';\n`)).toEqual([]);
  });

  test('a path into another package is refused', async () => {
    const code = `import '../../lease-kit/src/clock.ts';\n`;
    expect(await broken('packages/lease-store/src/canary.ts', code)).toEqual([boundaries]);
  });

  test('a test may bring a real store, but no tool', async () => {
    const file = 'packages/lease-server/src/canary.e2e.test.ts';
    expect(await broken(file, `import '@drover/lease-store-postgres';\n`)).toEqual([]);
    expect(await broken(file, `import '../../../tools/checks/src/main.ts';\n`)).toEqual([boundaries]);
  });
});

describe('sides', () => {
  test.each([
    ['agent → server', 'apps/agent', '@drover/lease-server'],
    ['server → agent', 'apps/server', '@drover/lease-agent'],
    ['shared → server', 'packages/lease-matching', '@drover/task-sources'],
    ['both → server', 'packages/lease-transport', '@drover/task-sources'],
  ])('%s is refused', async (_name, folder, target) => {
    expect(await broken(`${folder}/src/canary.ts`, `import '${target}';\n`)).toContain(boundaries);
  });

  test('an agent never loads a task source, a server never a lease handler, also by import()', async () => {
    const taskSource = `@drover/lease-type-job/task-source`;
    const leaseHandler = `@drover/lease-type-job/lease-handler`;
    const rule = 'house/keep-sides-apart';
    expect(await broken('apps/agent/src/canary.ts', `import '${taskSource}';\n`)).toContain(rule);
    expect(await broken('apps/agent/src/canary.ts', `await import('${taskSource}');\n`)).toContain(rule);
    expect(await broken('packages/lease-agent/src/canary.ts', `export * from 'acme-lease/task-source';\n`)).toEqual([
      rule,
    ]);
    expect(await broken('apps/server/src/canary.ts', `import '${leaseHandler}';\n`)).toContain(rule);
    expect(await broken('apps/agent/src/canary.ts', `import '${leaseHandler}';\n`)).toEqual([]);
    expect(await broken('apps/server/src/canary.ts', `import '${taskSource}';\n`)).toEqual([]);
    expect(await broken('apps/cli/src/canary.ts', `import '${taskSource}';\nimport '${leaseHandler}';\n`)).toEqual([]);
  });

  test('the halves of a lease type do not import each other', async () => {
    const file = 'packages/lease-type-job/src/lease-handler/canary.ts';
    expect(await broken(file, `import '../task-source/index.ts';\n`)).toEqual(['house/keep-sides-apart']);
    expect(await broken(file, `import '../index.ts';\n`)).toEqual([]);
  });
});

describe('house rules', () => {
  test.each([
    ['a file that is not kebab-case', 'src/leaseStore.ts', 'export {};\n', 'house/name-files'],
    ['a file named utils', 'src/utils.ts', 'export {};\n', 'house/name-files'],
    ['a test of helpers', 'src/helpers.test.ts', 'export {};\n', 'house/name-files'],
    ['a folder named types', 'src/types/lease.ts', 'export {};\n', 'house/name-files'],
    ['a default export', 'src/canary.ts', 'export default 1;\n', 'no-restricted-exports'],
    ['a default export by name', 'src/canary.ts', 'const a = 1;\nexport { a as default };\n', 'no-restricted-exports'],
    ['an import without extension', 'src/canary.ts', `import './clock';\n`, 'house/write-extensions'],
    ['an import of what a build makes', 'src/canary.ts', `export * from './clock.js';\n`, 'house/write-extensions'],
    ['a sleep', 'src/canary.test.ts', 'await new Promise((r) => setTimeout(r, 5));\n', 'house/no-sleep-in-tests'],
    [
      'a sleep in a block',
      'src/canary.test.ts',
      'await new Promise<void>((done) => {\n  setTimeout(() => done(), 5);\n});\n',
      'house/no-sleep-in-tests',
    ],
    [
      'a sleep of node:timers/promises',
      'src/canary.test.ts',
      `import { setTimeout } from 'node:timers/promises';\nawait setTimeout(5);\n`,
      'house/no-sleep-in-tests',
    ],
  ])('%s is refused', async (_name, path, code, rule) => {
    expect(await broken(`packages/lease-kit/${path}`, code)).toEqual([rule]);
  });

  test('what they allow passes', async () => {
    const code = [
      `import { systemClock } from './clock.ts';`,
      `setTimeout(() => systemClock.wallMs(), 5);`,
      `await new Promise((resolve, reject) => {`,
      `  setTimeout(() => reject(new Error('too late')), 5);`,
      `  resolve(1);`,
      `});`,
      '',
    ].join('\n');
    expect(await broken('packages/lease-kit/src/canary.test.ts', code)).toEqual([]);
  });
});
