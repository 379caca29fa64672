import { create } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { createMemoryContentStore, digestOfBytes, digestToWire } from '@drover/content-store';
import { JobStatusSchema } from '@drover/control-api';
import { BatchResultSchema } from '@drover/lease-type-job';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { saveOutputs } from './save-outputs.ts';

test('neither the name of a lease nor of an output leads out of the folder', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'drover-outputs-'));
  await using parts = new AsyncDisposableStack();
  parts.defer(() => rmSync(dir, { recursive: true }));
  const content = parts.use(createMemoryContentStore());
  const bytes = Buffer.from('x');
  const digest = digestOfBytes(bytes);
  await content.write(digest, bytes);
  const save = (name: string, path: string): Promise<string[]> => {
    const output = anyPack(
      BatchResultSchema,
      create(BatchResultSchema, { outputs: [{ path, digest: digestToWire(digest) }] }),
    );
    const job = create(JobStatusSchema, { leases: [{ name, output }] });
    const options = { folder: join(dir, 'out'), replace: false };
    return saveOutputs(job, content, options, new AbortController().signal);
  };
  expect(await save('build', 'a/b.txt')).toEqual([join(dir, 'out/build/a/b.txt')]);
  for (const name of ['..', '../..', join(dir, 'elsewhere'), 'a/../../b']) {
    await expect(save(name, 'b.txt')).rejects.toMatchObject({ code: 'PATH_ESCAPES' });
  }
  await expect(save('build', '../../b.txt')).rejects.toMatchObject({ code: 'PATH_ESCAPES' });
  expect(existsSync(join(dir, 'b.txt')) || existsSync(join(dir, 'elsewhere'))).toBe(false);
});
