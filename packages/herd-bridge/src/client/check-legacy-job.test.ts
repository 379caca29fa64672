import { PipeKind, type FoundAgent } from '@drover/herd-protocol';
import { expect, test } from 'vitest';
import { checkLegacyJob, type LegacyJobPlan } from './check-legacy-job.ts';

const linux = { protocol: 'legacy', architecture: 'linux-x64' } as FoundAgent;
const windows = { protocol: 'legacy', architecture: 'win32-x64' } as FoundAgent;
const ours = { protocol: 'drover', architecture: 'linux-x64' } as FoundAgent;

const job: LegacyJobPlan = {
  inputs: [{ path: 'run' }, { path: 'data' }],
  outputs: [{ path: 'out/x' }],
  tasks: [
    {
      name: 'a',
      exe: './run',
      arguments: ['b c'],
      environment: {},
      workingFolder: '',
      pipe: { name: 'a', kind: PipeKind.FIFO },
      inputs: [],
      outputs: [],
    },
  ],
};

test('a job is said to be wrong for the agents that cannot be given it, with all that is wrong', () => {
  checkLegacyJob(job, [linux, ours], 'own');
  const [one] = job.tasks;
  const wrong = {
    ...job,
    outputs: [{ path: 'out/ü' }],
    tasks: [one!, { ...one!, name: 'b', timeoutMs: 5 }, { ...one!, name: 'c', exe: 'python3' }],
  };
  checkLegacyJob(wrong, [ours], 'own');
  expect(() => checkLegacyJob(wrong, [linux, ours, linux], 'own')).toThrow(
    expect.objectContaining({
      code: 'HERD_JOB_INVALID',
      message: expect.stringMatching(
        /^path "out\/ü".*\n.*task "b".*no time limits.*\n.*task "c".*"python3" is none of them/,
      ) as string,
    }),
  );
  expect(() => checkLegacyJob(job, [windows, linux], 'own')).toThrow(/^task "a".*no way to quote it/);
  const hidden = { ...job, outputs: [{ path: '.x' }] };
  checkLegacyJob(hidden, [linux], 'own');
  expect(() => checkLegacyJob(hidden, [linux], 'shared')).toThrow('folder of its own');
});
