import { readFile } from 'node:fs/promises';
import { expect, test } from 'vitest';
import { createMemoryStore } from './create-memory-store.ts';
import { sampleContext, sampleEntry, sampleSession } from './testing/index.ts';

test('the sample of the README does what it says', async () => {
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const code = /```ts\n([\s\S]*?)```/.exec(readme)?.[1]?.replaceAll(/^import .*$/gm, '') ?? '';
  const AsyncFunction = (async () => undefined).constructor as new (
    ...lines: string[]
  ) => (...values: unknown[]) => Promise<unknown>;
  const sample = new AsyncFunction(
    'createMemoryStore',
    'sampleContext',
    'sampleEntry',
    'sampleSession',
    `${code}; return attempt;`,
  );
  await expect(sample(createMemoryStore, sampleContext, sampleEntry, sampleSession)).resolves.toMatchObject({
    attempt: 1,
    agentId: 'agent-1',
    epoch: 1,
  });
});
