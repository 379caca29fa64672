import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { testPostgresUrl } from './fresh-schema.test.fixture.ts';

test('the sample of the README is the fixture beside this test, and runs', async () => {
  const sample = new URL('readme-sample.test.fixture.ts', import.meta.url);
  const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
  const code = (await readFile(sample, 'utf8')).replace('./index.ts', '@drover/lease-store-postgres');
  expect(readme).toContain(`\`\`\`ts\n${code}\`\`\``);
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=@drover/source', fileURLToPath(sample)],
    { env: { ...process.env, DATABASE_URL: testPostgresUrl() } },
  );
  expect(stdout).toBe('[]\n');
});
