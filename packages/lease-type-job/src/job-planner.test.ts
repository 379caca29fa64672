import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack, anyUnpack } from '@bufbuild/protobuf/wkt';
import { isDroverError } from '@drover/lease-kit';
import { describe, expect, test } from 'vitest';
import { BatchResultSchema, BatchSchema, JobSchema } from './gen/drover/job/v1/job_pb.ts';
import { jobPlanner } from './job-planner.ts';

const job = create(JobSchema, {
  batches: [
    { name: 'a', steps: [{ name: 's', exe: 'true' }], requirements: { pool: 'linux', resources: { ram: 5n } } },
    { name: 'b', steps: [{ name: 's', exe: 'true' }], retry: { attemptsMax: 5, onStepFailure: true } },
  ],
});

describe('the job planner', () => {
  test('makes one lease a batch, with its requirements and rules', () => {
    const [a, b] = jobPlanner.plan(anyPack(JobSchema, job));
    expect(a).toMatchObject({ name: 'a', requirements: { pool: 'linux', resources: { cores: 1, ram: 5 } } });
    expect(anyUnpack(a!.payload, BatchSchema)?.name).toBe('a');
    expect(b?.retry).toEqual({ attemptsMax: 5, after: ['lost', 'failed'], onFailedWork: true, backoffMs: 1_000 });
  });

  test('passes limits of time on, and refuses those that are out of bounds', () => {
    const limited = (seconds: bigint) =>
      create(JobSchema, {
        batches: [
          { name: 'a', steps: [{ name: 's', exe: 'true' }], timeouts: { start: { seconds: 2n }, total: { seconds } } },
        ],
      });
    const [lease] = jobPlanner.plan(anyPack(JobSchema, limited(60n)));
    expect(lease?.timeouts).toEqual({ startMsMax: 2_000, leaseMsMax: 60_000 });
    expect(jobPlanner.plan(anyPack(JobSchema, job))[0]).not.toHaveProperty('timeouts');
    expect(() => jobPlanner.plan(anyPack(JobSchema, limited(0n)))).toThrow(
      /batches\[0\]\.timeouts\.total: is 0 ms; allowed are 1 ms to 30 days/,
    );
  });

  test('refuses a job whose content is wrong, with every place', () => {
    const wrong = create(JobSchema, { batches: [{ name: '', steps: [] }] });
    const plan = (): unknown => jobPlanner.plan(anyPack(JobSchema, wrong));
    expect(plan).toThrow(/batches\[0\]\.name: is "".*batches\[0\]\.steps: has 0 steps/s);
  });

  test('refuses bytes that are no job', () => {
    const payload = { ...anyPack(JobSchema, job), value: new Uint8Array([0xff, 0xff, 0xff]) };
    expect(() => jobPlanner.plan(payload)).toThrow(expect.toSatisfy((error) => isDroverError(error, 'JOB_INVALID')));
  });

  test('judges success by the result', () => {
    const output = anyPack(BatchResultSchema, create(BatchResultSchema, { succeeded: true }));
    expect(jobPlanner.succeeded(output)).toBe(true);
    expect(jobPlanner.succeeded({ ...output, value: toBinary(BatchResultSchema, create(BatchResultSchema)) })).toBe(
      false,
    );
  });
});
