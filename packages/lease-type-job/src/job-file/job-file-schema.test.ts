import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { jobFileJsonSchema } from './job-file-schema.ts';

const file = join(import.meta.dirname, '../../schema/job-file.schema.json');

// `node --conditions=@drover/source apps/cli/src/main.ts job schema > packages/lease-type-job/schema/job-file.schema.json`
test('the schema that editors use is the one that job files are checked with', async () => {
  expect(JSON.parse(await readFile(file, 'utf8'))).toEqual(jobFileJsonSchema());
});

test('the schema describes every key of a step', () => {
  const text = JSON.stringify(jobFileJsonSchema());
  for (const key of ['exe', 'args', 'env', 'cwd', 'needs', 'always', 'timeout', 'memory'])
    expect(text).toContain(`"${key}"`);
});
