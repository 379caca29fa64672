import { create } from '@bufbuild/protobuf';
import { createMemoryContentStore } from '@drover/content-store';
import { leaseHandlerCompliance } from '@drover/lease-kit/testing';
import { createProcessRunner } from '@drover/process-runner';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'vitest';
import { BatchSchema } from '../gen/drover/job/v1/job_pb.ts';
import { createJobHandler } from './job-handler.ts';

const batch = (code: string) =>
  create(BatchSchema, { name: 'b', steps: [{ name: 's', exe: process.execPath, arguments: ['-e', code] }] });

leaseHandlerCompliance({
  describe,
  test,
  async make() {
    const dir = await mkdtemp(join(tmpdir(), 'job-handler-cases-'));
    const runner = createProcessRunner({ stateDir: dir, pollMs: 20 });
    return {
      handler: createJobHandler({ runner, content: createMemoryContentStore(), workspaces: [] }),
      quick: batch(''),
      endless: batch('setInterval(() => {}, 1000)'),
      async [Symbol.asyncDispose]() {
        await runner.stop();
        await rm(dir, { recursive: true, force: true });
      },
    };
  },
});
