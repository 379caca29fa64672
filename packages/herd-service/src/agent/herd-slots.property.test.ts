import { createMemoryContentStore, digestOfBytes, digestToWire } from '@drover/content-store';
import type { HerdJobSession } from '@drover/herd-protocol';
import type { Principal } from '@drover/lease-kit';
import { createResourceLedger } from '@drover/resource-ledger';
import fc from 'fast-check';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { createHerdJobRunner } from './create-herd-job-runner.ts';

const ada: Principal = { kind: 'user', id: 'ada' };
const never = new AbortController().signal;
const absent = { path: 'a', digest: digestToWire(digestOfBytes(Buffer.from('never sent'))) };

/** What a client or its agent may do, to one of a few jobs. */
const step = fc.oneof(
  fc.record({ do: fc.constant('begin' as const), together: fc.boolean(), resumable: fc.boolean() }),
  fc.record({
    do: fc.constant('add' as const),
    job: fc.nat(3),
    kinds: fc.array(fc.constantFrom('true', 'sleeps', 'absent', 'no-input', 'late'), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ do: fc.constantFrom('cancel', 'finish', 'read', 'leave', 'wait'), job: fc.nat(3) }),
  fc.record({ do: fc.constant('cancel-task' as const), job: fc.nat(3), task: fc.nat(8) }),
  fc.record({ do: fc.constantFrom('give-up', 'close', 'open') }),
);

type Step = Parameters<Parameters<typeof step.map>[0]>[0];

test('after whatever happened to its jobs an agent has all its slots again, and no folder of theirs', async () => {
  const steps = fc.array(step, { minLength: 1, maxLength: 25 });
  await fc.assert(fc.asyncProperty(steps, leavesNothing), { numRuns: 25, endOnFailure: true });
}, 30_000);

async function leavesNothing(steps: readonly Step[]): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'herd-slots-'));
  const ledger = createResourceLedger({ total: { cores: 3 }, leasesMax: 3 });
  const content = createMemoryContentStore({ sizeBytesMax: 1e6 });
  const runner = await createHerdJobRunner(
    { stateDir: join(dir, 'state'), slots: 3, cancelGraceMs: 0, graceMs: 40 },
    { ledger, content },
  );
  const jobs: { readonly session: HerdJobSession; reader: AbortController | undefined; tasks: number }[] = [];
  const readers: Promise<void>[] = [];
  const read = (job: (typeof jobs)[number]): void => {
    const reader = (job.reader = new AbortController());
    const all = async (): Promise<void> => {
      for await (const { sequence } of job.session.responses(0n, reader.signal)) job.session.acknowledge(sequence);
    };
    readers.push(all().catch(() => undefined));
  };
  const tasksOf = (job: (typeof jobs)[number], kinds: readonly string[]) =>
    kinds.map((kind) => {
      const name = `t${job.tasks++}`;
      switch (kind) {
        case 'sleeps':
          return { name, exe: 'sleep', arguments: ['60'], pipe: { name } };
        case 'absent':
          return { name, exe: 'no-such-program' };
        case 'no-input':
          return { name, exe: 'true', inputs: [absent] };
        case 'late':
          return { name, exe: 'sleep', arguments: ['60'], timeout: { nanos: 5_000_000 } };
        default:
          return { name, exe: 'true', outputs: ['o'] };
      }
    });
  const act = async (one: Step): Promise<void> => {
    const job = 'job' in one ? jobs[one.job] : undefined;
    switch (one.do) {
      case 'begin': {
        if (jobs.length > 3) return;
        const { together, resumable } = one;
        const context = { principal: ada, signal: never };
        const session = await runner.begin({ jobId: randomUUID() }, context, { together, resumable });
        jobs.push({ session, reader: undefined, tasks: 0 });
        read(jobs.at(-1)!);
        return;
      }
      case 'add':
        return job?.session.add({ tasks: tasksOf(job, one.kinds) });
      case 'cancel-task':
        return job?.session.cancel([`t${one.task}`]);
      case 'cancel':
        return job?.session.cancel();
      case 'finish':
        return job?.session.finish();
      case 'read':
        return void (job !== undefined && read(job));
      case 'leave':
        return job?.reader?.abort();
      case 'give-up':
        return runner.giveUpAll({ code: 'AGENT_BUSY', message: 'needed' });
      case 'close':
      case 'open':
        return runner.setOpen(one.do === 'open');
      default:
        // So that processes get their turns as well.
        for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  try {
    // What is refused has happened as well.
    for (const one of steps) await act(one).catch(() => undefined);
    for (const { session } of jobs) session.cancel();
    await vi.waitFor(() => expect(ledger.idle).toBe(true), { timeout: 5_000, interval: 5 });
    await vi.waitFor(() => expect(readdirSync(join(dir, 'state', 'jobs'))).toEqual([]), {
      timeout: 5_000,
      interval: 5,
    });
    expect(runner.standing().slotsFree).toBe(3);
  } finally {
    await runner[Symbol.asyncDispose]();
    await Promise.all(readers);
    rmSync(dir, { recursive: true });
  }
}
