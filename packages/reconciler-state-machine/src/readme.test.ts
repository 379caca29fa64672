import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as api from './index.ts';

test('the example of the README works', () => {
  const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');
  const sample = /```ts\n(.*?)```/s.exec(readme)![1]!;
  const body = sample.replace(/^import .*$/m, '').replace('<string>', '');
  const run = new Function(...Object.keys(api), `${body}; return { effects, dueMs };`);
  const { effects, dueMs } = run(...Object.values(api)) as { effects: readonly object[]; dueMs: number };
  expect(effects).toMatchObject([
    { type: 'send', copy: { list: { leases: [{ leaseId: 'lease-1', state: 'offered' }] } } },
  ]);
  expect(dueMs).toBe(60_000);
});
