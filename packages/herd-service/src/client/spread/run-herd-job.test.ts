import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TaskEnd } from '@drover/herd-protocol';
import { DroverError } from '@drover/lease-kit';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { HerdJob, JobTask } from '../job-file/herd-job.ts';
import { FakeAgent } from './fake-agent.test.fixture.ts';
import type { HerdJobEvent, HerdJobResult } from './herd-job-result.ts';
import { runHerdJob } from './run-herd-job.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'drover-herd-run-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

function tasks(count: number, more: Partial<JobTask> = {}): JobTask[] {
  return Array.from({ length: count }, (_, i) => ({
    name: `t${i + 1}`,
    exe: 'true',
    arguments: [],
    environment: {},
    workingFolder: '',
    retries: 0,
    inputs: [],
    outputs: [],
    ...more,
  }));
}

function jobOf(more: Partial<HerdJob>): HerdJob {
  return { name: 'test', inputs: [], outputs: [], tasks: tasks(1), ...more };
}

function start(job: HerdJob, agents: readonly FakeAgent[], onEvent?: (event: HerdJobEvent) => void) {
  const options = { agents: agents.map(({ agent }) => agent), outputsFolder: folder };
  return runHerdJob(job, options, { connectors: agents, onEvent });
}

const run = (job: HerdJob, agents: readonly FakeAgent[]): Promise<HerdJobResult> => start(job, agents).result;

test('work goes to whoever is free, and nobody is given more than it asked for', async () => {
  const fast = new FakeAgent('fast', { slots: 2, credits: 6 });
  let release = (): void => undefined;
  const held = new Promise<void>((resolve) => (release = resolve));
  const slow = new FakeAgent('slow', {
    slots: 1,
    credits: 3,
    work: async () => {
      await held;
      return TaskEnd.SUCCEEDED;
    },
  });
  let ended = 0;
  const { result } = start(jobOf({ tasks: tasks(40) }), [fast, slow], (event) => {
    // Before the end the slow one has little, for what it has waiting no other can take.
    if (event.kind === 'task-ended' && ++ended === 35) release();
  });
  const { outcome, agents } = await result;
  expect(outcome).toBe('succeeded');
  expect(fast.ran.length + slow.ran.length).toBe(40);
  expect(slow.ran.length).toBeLessThanOrEqual(8);
  expect(agents.map(({ state, tasks: count }) => [state, count])).toEqual([
    ['done', fast.ran.length],
    ['done', slow.ran.length],
  ]);
  expect([fast.isClosed, slow.isClosed]).toEqual([true, true]);
});

test('files go to each agent once, those of a task only where it runs, and those of a platform only there', async () => {
  await Promise.all(['a', 'b', 'w'].map((name) => writeFile(join(folder, name), `file ${name}`)));
  const input = (name: string) => ({ path: name, source: join(folder, name), executable: false });
  const [one, two] = [new FakeAgent('one'), new FakeAgent('two')];
  const [first, ...others] = tasks(6);
  const job = jobOf({
    inputs: [input('a'), { ...input('w'), architecture: 'win32-x64' }],
    tasks: [{ ...first!, inputs: [input('b')] }, ...others],
  });
  const result = await run(job, [one, two]);
  expect(result.outcome).toBe('succeeded');
  expect([one.sent.size, two.sent.size].sort()).toEqual([1, 2]);
  expect(result.agents.map(({ sentBytes }) => sentBytes).sort()).toEqual([12, 6].sort());
});

test('tasks of a lost agent go to others; which may have run twice is told', async () => {
  const lost = new FakeAgent('lost', {
    slots: 2,
    work: async (task, agent) => {
      if (task.name === 't1') return TaskEnd.SUCCEEDED;
      agent.lose();
      return new Promise(() => undefined);
    },
  });
  const other = new FakeAgent('other', { slots: 1 });
  const result = await run(jobOf({ tasks: tasks(8) }), [lost, other]);
  expect(result.outcome).toBe('succeeded');
  const twice = result.tasks.filter(({ mayHaveRunTwice }) => mayHaveRunTwice);
  expect(twice.length).toBeGreaterThan(0);
  for (const { name, agent, attempts } of twice) {
    expect(lost.ran).toContain(name);
    expect(other.ran).toContain(`${name}~2`);
    expect([agent, attempts]).toEqual(['other', 2]);
  }
  expect(result.agents[0]).toMatchObject({ state: 'lost', code: 'AGENT_LOST' });
});

test('a task whose outputs are lost with its agent is run again elsewhere', async () => {
  const lost: FakeAgent = new FakeAgent('lost', {
    output: (path) => {
      // The end is told, the file is found, and then nothing comes any more.
      setImmediate(() => lost.lose());
      return `from lost ${path}`;
    },
    work: () => TaskEnd.SUCCEEDED,
  });
  let connect = (): void => undefined;
  const connected = new Promise<void>((resolve) => (connect = resolve));
  const other = new FakeAgent('other', { connect: () => connected, output: (path) => `from other ${path}` });
  const outputs = [{ path: 'o', target: 'o.txt' }];
  const late = lost.connect.bind(lost);
  lost.connect = async () => {
    const link = await late();
    // Files come slowly.
    return {
      ...link,
      receive: () => Promise.reject(new DroverError({ code: 'RPC_UNAVAILABLE', advice: 'unavailable', message: '' })),
    };
  };
  const { result } = start(jobOf({ tasks: tasks(1, { outputs }) }), [lost, other], (event) => {
    if (event.kind === 'agent-gone') connect();
  });
  const ended = await result;
  expect(ended).toMatchObject({ outcome: 'succeeded', missing: [] });
  expect(ended.tasks[0]).toMatchObject({ agent: 'other', mayHaveRunTwice: true });
  expect(await readFile(join(folder, 'o.txt'), 'utf8')).toBe('from other o');
});

test('agents that cannot be reached, refuse or give up are left, and said why', async () => {
  const refuse = (code: string) => () =>
    Promise.reject(new DroverError({ code, advice: 'unavailable', message: code }));
  const agents = [
    new FakeAgent('away', { connect: refuse('AGENT_UNREACHABLE') }),
    new FakeAgent('closed', { begin: refuse('HERD_CLOSED') }),
    new FakeAgent('good'),
  ];
  const result = await run(jobOf({ tasks: tasks(3) }), agents);
  expect(result.outcome).toBe('succeeded');
  expect(result.agents.map(({ state, code }) => [state, code])).toEqual([
    ['left', 'AGENT_UNREACHABLE'],
    ['left', 'HERD_CLOSED'],
    ['done', undefined],
  ]);
  const none = await run(jobOf({ tasks: tasks(2), outputs: [{ path: 'o', target: 'o' }] }), [
    new FakeAgent('away', { connect: refuse('AGENT_UNREACHABLE') }),
  ]);
  expect(none.outcome).toBe('failed');
  expect(none.tasks).toMatchObject([
    { outcome: 'not-run', errorCode: 'NO_AGENT_LEFT', attempts: 0 },
    { outcome: 'not-run', errorCode: 'NO_AGENT_LEFT', mayHaveRunTwice: false },
  ]);
  expect(none.missing).toMatchObject([{ path: 'o', code: 'OUTPUT_NOT_FOUND' }]);
});

test('a blob that an agent dropped is sent again, once', async () => {
  let begins = 0;
  const evicting = new FakeAgent('evicting', {
    begin: async () => {
      if (++begins === 1) throw new DroverError({ code: 'BLOB_NOT_FOUND', advice: 'not-found', message: 'evicted' });
    },
  });
  expect((await run(jobOf({}), [evicting])).outcome).toBe('succeeded');
  expect(evicting.begins).toBe(2);
});

test('a task that fails is run again as often as its retries say, and its log is kept', async () => {
  let failures = 0;
  const agent = new FakeAgent('one', {
    work: ({ name }) => (name.startsWith('t1') && ++failures < 3 ? TaskEnd.FAILED : TaskEnd.SUCCEEDED),
  });
  const [first] = tasks(1, { retries: 2 });
  expect((await run(jobOf({ tasks: [first!] }), [agent])).tasks[0]).toMatchObject({
    outcome: 'succeeded',
    attempts: 3,
  });
  expect(agent.ran).toEqual(['t1', 't1~2', 't1~3']);
  // Names that look like those of further attempts are nobody's but their tasks'.
  const alike = new FakeAgent('alike', {
    slots: 1,
    work: ({ name }) => (name === 't1' ? TaskEnd.FAILED : TaskEnd.SUCCEEDED),
  });
  const two = [first!, { ...first!, name: 't1~2' }];
  expect((await run(jobOf({ tasks: two }), [alike])).tasks.map(({ attempts }) => attempts)).toEqual([2, 1]);
  const failing = new FakeAgent('two', { work: () => TaskEnd.FAILED });
  const result = await run(jobOf({ tasks: tasks(2) }), [failing]);
  expect(result.outcome).toBe('failed');
  expect(result.tasks[0]).toMatchObject({ outcome: 'failed', exitCode: 1, logTail: 'log of t1', attempts: 1 });
});

test('outputs of the job: the same content once, other content beside it, and what nobody had is missing', async () => {
  const outputs = ['same', 'other.txt', 'one-only', 'none'].map((path) => ({ path, target: `out-${path}` }));
  const content = (name: string) => (path: string) =>
    path === 'none' || (path === 'one-only' && name === 'b') ? undefined : path === 'same' ? 'same' : `of ${name}`;
  const result = await run(jobOf({ tasks: tasks(4), outputs }), [
    new FakeAgent('a', { output: content('a') }),
    new FakeAgent('b', { output: content('b') }),
  ]);
  expect(result.outcome).toBe('failed');
  expect(result.missing).toEqual([{ path: 'none', code: 'OUTPUT_NOT_FOUND', message: 'is not there' }]);
  const conflict = result.outputs.find(({ isConflict }) => isConflict)!;
  expect(conflict.file).toBe(join(folder, `out-other.${conflict.agent}.txt`));
  expect(await readFile(conflict.file, 'utf8')).toBe(`of ${conflict.agent}`);
  expect(await readFile(join(folder, 'out-same'), 'utf8')).toBe('same');
  expect(await readFile(join(folder, 'out-one-only'), 'utf8')).toBe('of a');
});

test('a job ends whose last word is that an output is missing', async () => {
  const outputs = [{ path: 'none', target: 'none' }];
  const result = await run(jobOf({ tasks: tasks(2, { outputs }) }), [
    new FakeAgent('one', { output: () => undefined }),
  ]);
  expect(result.outcome).toBe('failed');
  expect(result.missing.map(({ task }) => task)).toEqual(['t1', 't2']);
});

test('a cancel ends what runs, what waits and what is being made ready', async () => {
  const never = (): Promise<never> => new Promise(() => undefined);
  const busy = new FakeAgent('busy', { slots: 2, work: never });
  const late = new FakeAgent('late', {
    connect: () => new Promise((_, reject) => setImmediate(() => setImmediate(() => reject(new Error('late'))))),
  });
  const job = start(jobOf({ tasks: tasks(9) }), [busy, late], (event) => {
    if (event.kind === 'task-started' && event.task === 't2') job.cancel();
  });
  const result = await job.result;
  expect(result.outcome).toBe('cancelled');
  expect(new Set(result.tasks.map(({ outcome }) => outcome))).toEqual(new Set(['cancelled']));
  expect(busy.cancelled).toEqual([undefined]);
});

test('one task is cancelled by its name, wherever it is', async () => {
  const agent = new FakeAgent('one', { slots: 1, credits: 3 });
  const job = start(jobOf({ tasks: tasks(6) }), [agent], (event) => {
    if (event.kind === 'task-started' && event.task === 't1') job.cancel(['t2', 't6']);
  });
  const { tasks: results } = await job.result;
  expect(results.map(({ outcome }) => outcome)).toEqual([
    'succeeded',
    'cancelled',
    'succeeded',
    'succeeded',
    'succeeded',
    'cancelled',
  ]);
});

test('a job that somebody else cancels on an agent begins nowhere anew', async () => {
  const one: FakeAgent = new FakeAgent('one', {
    work: () => {
      one.cancelFromElsewhere();
      return new Promise(() => undefined);
    },
  });
  const result = await run(jobOf({ tasks: tasks(3) }), [one]);
  expect(result.outcome).toBe('cancelled');
  expect(result.tasks.map(({ outcome }) => outcome)).toEqual(['cancelled', 'cancelled', 'cancelled']);
});

test('leaving rejects with its reason and closes every link', async () => {
  const busy = new FakeAgent('busy', { work: () => new Promise(() => undefined) });
  const job = start(jobOf({}), [busy], (event) => {
    if (event.kind !== 'task-started') return;
    job.leave(new Error('enough'));
    busy.lose();
  });
  await expect(job.result).rejects.toThrow('enough');
  expect(busy.isClosed).toBe(true);
});

test('whatever agents do, every task ends once, and a succeeded one has all its outputs here', async () => {
  const behaviour = fc.record({
    slots: fc.integer({ min: 1, max: 3 }),
    extra: fc.integer({ min: 0, max: 3 }),
    lostAfter: fc.option(fc.integer({ min: 0, max: 6 })),
    failsEvery: fc.option(fc.integer({ min: 2, max: 4 })),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(behaviour, { minLength: 1, maxLength: 4 }),
      fc.integer({ min: 1, max: 25 }),
      async (all, count) => {
        const agents = all.map(({ slots, extra, lostAfter, failsEvery }, i) => {
          let n = 0;
          return new FakeAgent(`a${i}`, {
            slots,
            credits: slots + extra,
            work: async (_, agent) => {
              n += 1;
              if (lostAfter !== null && n > lostAfter) {
                agent.lose();
                return new Promise(() => undefined);
              }
              return failsEvery !== null && n % failsEvery === 0 ? TaskEnd.FAILED : TaskEnd.SUCCEEDED;
            },
          });
        });
        const all_ = tasks(count, { retries: 1 }).map((task) => ({
          ...task,
          outputs: [{ path: 'o', target: `${task.name}.out` }],
        }));
        const ends = new Map<string, number>();
        const { result } = start(jobOf({ tasks: all_ }), agents, (event) => {
          if (event.kind === 'task-ended') ends.set(event.result.name, (ends.get(event.result.name) ?? 0) + 1);
          // Its outputs were lost with its agent: it ends once more.
          if (event.kind === 'task-again' && ends.has(event.task)) ends.set(event.task, 0);
        });
        const { tasks: results, outputs } = await result;
        expect(results.map(({ name }) => name)).toEqual(all_.map(({ name }) => name));
        expect([...ends.values()].every((times) => times === 1) && ends.size === count).toBe(true);
        const here = new Set(outputs.map(({ task }) => task));
        for (const { name, outcome } of results) if (outcome === 'succeeded') expect(here.has(name)).toBe(true);
        if (all.some(({ lostAfter }) => lostAfter === null)) {
          expect(results.every(({ outcome }) => outcome !== 'not-run')).toBe(true);
        }
        await Promise.all(outputs.map(({ file }) => rm(file)));
      },
    ),
    { numRuns: 40 },
  );
});
