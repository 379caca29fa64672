import type { MessageInitShape } from '@bufbuild/protobuf';
import { createMemoryContentStore, digestOfBytes, digestToWire, type LocalContentStore } from '@drover/content-store';
import {
  JobEnd,
  PipeKind,
  TaskEnd,
  type HerdJobSession,
  type HerdTaskSchema,
  type RunJobResponse,
} from '@drover/herd-protocol';
import type { Principal } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import { createResourceLedger, type ResourceLedger } from '@drover/resource-ledger';
import { randomUUID } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createHerdJobRunner, type HerdJobHost, type HerdJobRunnerOptions } from './create-herd-job-runner.ts';
import { SlotLedger } from './slot-ledger.ts';

type Task = MessageInitShape<typeof HerdTaskSchema>;

const ada: Principal = { kind: 'user', id: 'ada' };
const signal = new AbortController().signal;
const context = { principal: ada, signal };

let dir: string;
let content: LocalContentStore;
let ledger: ResourceLedger;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'herd-'));
  content = createMemoryContentStore({ sizeBytesMax: 1e7 });
  ledger = createResourceLedger({ total: { cores: 4 }, leasesMax: 4 });
});
afterEach(() => rmSync(dir, { recursive: true }));

const open = (options: Partial<HerdJobRunnerOptions> = {}): Promise<HerdJobHost> =>
  createHerdJobRunner({ stateDir: join(dir, 'state'), slots: 2, cancelGraceMs: 0, ...options }, { ledger, content });

const sh = (name: string, script: string, rest: Task = {}): Task => ({
  name,
  exe: 'sh',
  arguments: ['-c', script],
  ...rest,
});

/** Puts a file into the store and answers it as a job's input. */
async function file(path: string, text: string, executable = false) {
  const bytes = Buffer.from(text);
  const digest = digestOfBytes(bytes);
  await content.write(digest, bytes);
  return { path, digest: digestToWire(digest), executable };
}

/** Gives tasks as the agent asks for them, to the end of the job. */
async function run(
  session: HerdJobSession,
  tasks: readonly Task[],
  onResponse: (response: RunJobResponse) => void = () => undefined,
): Promise<RunJobResponse[]> {
  const all: RunJobResponse[] = [];
  let at = 0;
  for await (const response of session.responses(0n, signal)) {
    all.push(response);
    onResponse(response);
    session.acknowledge(response.sequence);
    if (response.message.case !== 'credits') continue;
    const given = tasks.slice(at, at + response.message.value.tasks);
    at += given.length;
    session.add({ tasks: given });
    if (at === tasks.length) session.finish();
  }
  return all;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const of = <Case extends NonNullable<RunJobResponse['message']['case']>>(
  responses: readonly RunJobResponse[],
  wanted: Case,
) =>
  responses.flatMap(({ message }) =>
    message.case === wanted ? [message.value as Extract<RunJobResponse['message'], { case: Case }>['value']] : [],
  );
const endsOf = (responses: readonly RunJobResponse[]) =>
  Object.fromEntries(of(responses, 'ended').map((ended) => [ended.task, ended.end]));
const jobEndOf = (responses: readonly RunJobResponse[]) => of(responses, 'jobEnded')[0]?.end;
const begin = (
  runner: HerdJobHost,
  job: Parameters<HerdJobHost['begin']>[0] = {},
  ...rest: [Parameters<HerdJobHost['begin']>[2]?]
) => runner.begin({ jobId: randomUUID(), name: 'job', ...job }, context, ...rest);

/** The text of a file that a task writes, once it is there. */
async function textIn(path: string): Promise<string> {
  for (;;) {
    const found = existsSync(path) ? readFileSync(path, 'utf8') : '';
    if (found.endsWith('\n')) return found.trim();
    await new Promise((resolve) => setImmediate(resolve));
  }
}
const isAlive = (pid: string): boolean => existsSync(`/proc/${pid}/exe`);

describe('a job', () => {
  test('has its inputs in place, runs its tasks, and its outputs come back or are missing for a reason', async () => {
    await using runner = await open();
    const session = await begin(runner, {
      inputs: [
        await file('own-tool', '#!/bin/sh\nexit 9\n', true),
        await file('bin/tool', '#!/bin/sh\ncat data/in.txt; echo "$A $DROVER_HERD_TASK"\n', true),
        await file('data/in.txt', 'input\n'),
      ],
      outputs: ['late.txt', 'no/such', 'data', 'leads-out'],
    });
    symlinkSync('/etc/passwd', join(session.folder, 'leads-out'));
    const responses = await run(session, [
      { name: 'tool', exe: './bin/tool', environment: { A: 'a' } },
      sh('out', 'echo made > ../made.txt; cp own.txt ../late.txt; exit 3', {
        workingFolder: 'out',
        inputs: [await file('out/own.txt', 'own\n')],
        outputs: ['made.txt', 'out/none.txt'],
      }),
      { name: 'absent', exe: 'no-such-program', outputs: ['x'] },
      sh('killed', 'kill -9 $$'),
      { name: 'sent', exe: 'own-tool' },
      sh('late', 'exec sleep 60', { timeout: { seconds: 0n, nanos: 30_000_000 } }),
    ]);
    expect(responses.map(({ sequence }) => Number(sequence))).toEqual(responses.map((_, index) => index + 1));
    expect(endsOf(responses)).toEqual({
      tool: TaskEnd.SUCCEEDED,
      out: TaskEnd.FAILED,
      absent: TaskEnd.COULD_NOT_START,
      killed: TaskEnd.FAILED,
      sent: TaskEnd.FAILED,
      late: TaskEnd.TIMED_OUT,
    });
    const [tool, out, absent, killed] = ['tool', 'out', 'absent', 'killed'].map((name) =>
      of(responses, 'ended').find(({ task }) => task === name)!,
    );
    expect(Buffer.from(tool!.logTail).toString()).toBe('input\na tool\n');
    expect([out!.exitCode, absent!.errorCode, killed!.signal]).toEqual([3, 'PROCESS_EXE_NOT_FOUND', 'SIGKILL']);
    expect(Object.fromEntries(of(responses, 'missing').map(({ path, code }) => [path, code]))).toEqual({
      'out/none.txt': 'OUTPUT_NOT_FOUND',
      x: 'OUTPUT_NOT_FOUND',
      'no/such': 'OUTPUT_NOT_FOUND',
      data: 'OUTPUT_NOT_A_FILE',
      'leads-out': 'OUTPUT_OUTSIDE_FOLDER',
    });
    const found = of(responses, 'output').map(({ file: { path, digest } = {}, task }) => [path, task, digest?.hash]);
    const hash = (text: string): string => digestOfBytes(Buffer.from(text)).hash;
    expect(found).toEqual([
      ['made.txt', 'out', hash('made\n')],
      ['late.txt', '', hash('own\n')],
    ]);
    expect(jobEndOf(responses)).toBe(JobEnd.COMPLETED);
    expect(readdirSync(join(dir, 'state', 'jobs'))).toEqual([]);
    expect(ledger.idle).toBe(true);
    expect((await content.usage()).pinnedBytes).toBe('made\n'.length + 'own\n'.length);
  });

  test('tells what its tasks say through their pipes, before their ends', async () => {
    await using runner = await open();
    const say = '<Progress>40</Progress>\\0<Evaluation>1,2</Evaluation><Message>hi</Message><Other>x</Other>';
    const responses = await run(await begin(runner), [
      sh('fifo', `printf '${say}' > {pipe}`, { pipe: { name: 'p' } }),
      sh('never', 'exit 0', { pipe: { name: 'q', kind: PipeKind.UNIX_SOCKET } }),
    ]);
    const order = responses.map(({ message }) => message.case);
    expect(of(responses, 'item').map(({ task, item }) => [task, item.case])).toEqual([
      ['fifo', 'progress'],
      ['fifo', 'evaluation'],
      ['fifo', 'message'],
    ]);
    const ended = responses.findIndex(({ message }) => message.case === 'ended' && message.value.task === 'fifo');
    expect(order.lastIndexOf('item')).toBeLessThan(ended);
    expect(endsOf(responses)).toEqual({ fifo: TaskEnd.SUCCEEDED, never: TaskEnd.SUCCEEDED });
  });

  test('of the original protocol starts its tasks together in one slot, and passes items on as they are', async () => {
    await using runner = await open({ slots: 1 });
    const session = await begin(runner, {}, { together: true, rawItems: true, resumable: false, pipesFolder: dir });
    // Each waits for the other.
    const meet = (mine: string, other: string): string => `echo > ${mine}; while [ ! -e ${other} ]; do :; done`;
    const responses = await run(session, [
      sh('a', meet('a', 'b')),
      sh('b', `printf '<Custom>c</Custom>' > ${dir}/unit-b; ${meet('b', 'a')}`, { pipe: { name: 'unit-b' } }),
    ]);
    expect(endsOf(responses)).toEqual({ a: TaskEnd.SUCCEEDED, b: TaskEnd.SUCCEEDED });
    expect(of(responses, 'item').map(({ item }) => item.value)).toEqual(['<Custom>c</Custom>']);
    expect(ledger.idle).toBe(true);
  });

  test('is refused with what is wrong, and leaves nothing', async () => {
    await using runner = await open({ limits: { jobsMax: 1 } });
    const absent = { path: 'a', digest: digestToWire(digestOfBytes(Buffer.from('never sent'))) };
    const twice = await file('a', 'x');
    const refused: [Parameters<HerdJobHost['begin']>[0], string][] = [
      [{ jobId: '../up' }, 'HERD_JOB_INVALID'],
      [{ inputs: [{ ...twice, path: '../up' }] }, 'HERD_JOB_INVALID'],
      [{ inputs: [twice, twice] }, 'HERD_JOB_INVALID'],
      [{ outputs: ['/etc/passwd'] }, 'HERD_JOB_INVALID'],
      [{ inputs: [absent] }, 'BLOB_NOT_FOUND'],
      [{ inputs: [twice, { ...twice, path: 'a/b' }] }, 'HERD_INPUT_UNPLACEABLE'],
    ];
    for (const [job, code] of refused) {
      await expect(begin(runner, job)).rejects.toMatchObject({ code });
    }
    expect(readdirSync(join(dir, 'state', 'jobs'))).toEqual([]);
    const first = await begin(runner);
    await expect(begin(runner)).rejects.toMatchObject({ code: 'HERD_JOBS_TOO_MANY' });
    await expect(begin(runner, { jobId: first.jobId })).rejects.toMatchObject({ code: 'HERD_JOB_EXISTS' });
    expect(() => runner.find(first.jobId, { principal: { kind: 'user', id: 'eve' }, signal })).toThrow(/no job/);
    first.cancel();
    expect(jobEndOf(await run(first, []))).toBe(JobEnd.CANCELLED);
    runner.setOpen(false);
    await expect(begin(runner)).rejects.toMatchObject({ code: 'HERD_CLOSED' });
  });

  test('takes no more tasks than it asked for, none that are wrong, and those that it has only once', async () => {
    await using runner = await open({ slots: 1 });
    const session = await begin(runner);
    const code = (tasks: Task[]): unknown => {
      try {
        session.add({ tasks });
        return undefined;
      } catch (error) {
        return (error as { code: string }).code;
      }
    };
    for (const wrong of [
      { name: '' },
      { name: 'a\0b', exe: 'x' },
      { name: 'a' },
      { name: 'a', exe: '../x/y' },
      { name: 'a', exe: 'x', pipe: { name: 'a/b' } },
      { name: 'a', exe: 'x', environment: { 'A=B': 'c' } },
      { name: 'a', exe: 'x', arguments: ['\0'] },
    ]) {
      expect(code([wrong])).toBe('HERD_TASK_INVALID');
    }
    expect(code([sh('a', ''), sh('a', '')])).toBe('HERD_TASK_INVALID');
    expect(code(Array.from({ length: 1_000 }, (_, n) => sh(`t${n}`, '')))).toBe('HERD_TASKS_TOO_MANY');
    const responses = session.responses(0n, signal);
    for await (const { message } of responses) if (message.case === 'credits') break;
    const other = session.responses(0n, signal);
    expect(code([sh('a', 'exit 1')])).toBeUndefined();
    expect(code([sh('a', 'exit 1')])).toBeUndefined();
    session.finish();
    session.finish();
    expect(code([sh('b', '')])).toBe('HERD_TASK_INVALID');
    expect(endsOf(await collect(other))).toEqual({ a: TaskEnd.FAILED });
  });

  test('is cancelled at any time, task by task or whole, with all that its tasks started', async () => {
    await using runner = await open();
    const session = await begin(runner);
    const script = 'sh -c "echo \\$\\$ > $0; exec sleep 60" & wait';
    const script2 = (name: string): Task => ({ name, exe: 'sh', arguments: ['-c', script, join(dir, name)] });
    const ended = run(session, [script2('a'), script2('b'), script2('c')]);
    const [a, b] = await Promise.all([textIn(join(dir, 'a')), textIn(join(dir, 'b'))]);
    session.cancel(['a', 'unknown']);
    const c = await textIn(join(dir, 'c'));
    expect([a, b, c].map(isAlive)).toEqual([false, true, true]);
    session.cancel();
    const responses = await ended;
    expect([a, b, c].map(isAlive)).toEqual([false, false, false]);
    expect(new Set(Object.values(endsOf(responses)))).toEqual(new Set([TaskEnd.CANCELLED]));
    expect(jobEndOf(responses)).toBe(JobEnd.CANCELLED);
  });

  test('is given up when the agent stops, and says so', async () => {
    const runner = await open();
    const session = await begin(runner);
    const names = ['a', 'b', 'c'];
    const ended = run(
      session,
      names.map((name) => sh(name, `echo $$ > ${dir}/${name}; trap '' TERM; sleep 60`, { outputs: [name] })),
    );
    const [pid] = await Promise.all([textIn(join(dir, 'a')), textIn(join(dir, 'b'))]);
    session.cancel(['b']);
    await runner[Symbol.asyncDispose]();
    // What nobody cancelled has no end, so that its client has it run elsewhere.
    expect(endsOf(await ended)).toEqual({ b: TaskEnd.CANCELLED });
    expect(of(await ended, 'missing').map(({ task }) => task)).toEqual(['b']);
    expect(of(await ended, 'jobEnded')).toMatchObject([{ end: JobEnd.GIVEN_UP, errorCode: 'HERD_AGENT_STOPPED' }]);
    expect(isAlive(pid)).toBe(false);
  });
});

describe('responses', () => {
  test('are sent again from where a reader broke off, without gaps', async () => {
    await using runner = await open();
    const session = await begin(runner);
    const first: RunJobResponse[] = [];
    for await (const response of session.responses(0n, signal)) {
      first.push(response);
      if (response.message.case === 'credits')
        session.add({ tasks: [sh('a', `while [ ! -e ${dir}/go ]; do sleep 0.01; done`)] });
      if (response.message.case === 'started') break;
    }
    const found = runner.find(session.jobId, context);
    const second = found.responses(first.at(-1)!.sequence, signal)[Symbol.asyncIterator]();
    const waiting = second.next();
    const third = collect(found.responses(1n, signal));
    // One reader at a time: the new one ended the one before.
    expect((await waiting).done).toBe(true);
    found.finish();
    writeFileSync(join(dir, 'go'), '');
    const rest = await third;
    expect(rest.map(({ sequence }) => Number(sequence))).toEqual(rest.map((_, index) => index + 2));
    expect(jobEndOf(rest)).toBe(JobEnd.COMPLETED);
    found.acknowledge(3n);
    await expect(collect(found.responses(1n, signal))).rejects.toMatchObject({ code: 'HERD_RESPONSES_GONE' });
    found.acknowledge(rest.at(-1)!.sequence);
    expect(() => runner.find(session.jobId, context)).toThrow(/no job/);
  });

  test('that nobody reads for the grace cancel the job; then it is forgotten', async () => {
    await using runner = await open({ graceMs: 30 });
    const session = await begin(runner);
    let pid = '';
    for await (const { message } of session.responses(0n, signal)) {
      if (message.case === 'credits') session.add({ tasks: [sh('a', `echo $$ > ${dir}/a; exec sleep 60`)] });
      if (message.case !== 'started') continue;
      pid = await textIn(join(dir, 'a'));
      break;
    }
    expect(isAlive(pid)).toBe(true);
    await vi.waitFor(() => expect(runner.jobs()).toEqual([]));
    expect(isAlive(pid)).toBe(false);
    expect(() => runner.find(session.jobId, context)).toThrow(/no job/);
  });

  test('that are not acknowledged are bounded: items are left out and counted, and tasks wait', async () => {
    await using runner = await open({ slots: 1, limits: { responsesKeptMax: 20 } });
    const session = await begin(runner);
    const items = Array.from({ length: 50 }, (_, n) => `<Message>${n}</Message>`).join('');
    let sum = 0;
    let unacknowledged = 0;
    let at = 0;
    const tasks = Array.from({ length: 20 }, (_, n) =>
      sh(`t${n}`, `printf '${items}' > {pipe}`, { pipe: { name: 'p' } }),
    );
    for await (const { sequence, message } of session.responses(0n, signal)) {
      unacknowledged += 1;
      expect(unacknowledged).toBeLessThanOrEqual(25);
      if (message.case === 'credits') {
        const given = tasks.slice(at, (at += message.value.tasks));
        session.add({ tasks: given });
        if (at >= tasks.length) session.finish();
      }
      if (message.case === 'item') sum += message.value.item.case === 'dropped' ? Number(message.value.item.value) : 1;
      if (unacknowledged >= 20) {
        session.acknowledge(sequence);
        unacknowledged = 0;
      }
    }
    expect(sum).toBe(50 * tasks.length);
  });
});

describe('slots', () => {
  test('are shared by jobs in turn', async () => {
    await using runner = await open({ slots: 1 });
    const order: number[] = [];
    const sessions = await Promise.all([begin(runner), begin(runner)]);
    await Promise.all(
      sessions.map((session, job) =>
        run(
          session,
          Array.from({ length: 8 }, (_, n) => sh(`t${n}`, 'sleep 0.005')),
          ({ message }) => void (message.case === 'started' && order.push(job)),
        ),
      ),
    );
    expect(order).toHaveLength(16);
    const ofFirst = order.slice(0, 8).filter((job) => job === 0).length;
    expect(ofFirst).toBeGreaterThanOrEqual(3);
    expect(ofFirst).toBeLessThanOrEqual(5);
  });

  test('are what leases leave, and a lease finds what tasks give back', async () => {
    await using runner = await open({ slots: 3 });
    const lease = { kind: 'attempt', id: '1:x' } as const;
    ledger.reserve(lease, { resources: { cores: 3 } });
    expect(runner.standing()).toEqual({ slotsTotal: 3, slotsFree: 1, open: true });
    const session = await begin(runner);
    const wait = `echo $$ > ${dir}/"$DROVER_HERD_TASK"; while [ ! -e ${dir}/go ]; do sleep 0.01; done`;
    const ended = run(session, [sh('a', wait), sh('b', wait)]);
    await textIn(join(dir, 'a'));
    expect(ledger.free()).toEqual({ cores: 0 });
    expect(runner.standing().slotsFree).toBe(0);
    expect(ledger.reserve({ kind: 'attempt', id: '1:y' }, { resources: { cores: 1 } })?.code).toBe('RESOURCE_TAKEN');
    // Held back for the lease that was refused, though there is room for `b` now.
    ledger.release(lease);
    expect(existsSync(join(dir, 'b'))).toBe(false);
    expect(ledger.reserve({ kind: 'attempt', id: '1:y' }, { resources: { cores: 1 } })).toBeUndefined();
    await textIn(join(dir, 'b'));
    writeFileSync(join(dir, 'go'), '');
    expect(endsOf(await ended)).toEqual({ a: TaskEnd.SUCCEEDED, b: TaskEnd.SUCCEEDED });
  });

  test('are held back for a while for a lease that was refused, and not for ever', () => {
    const clock = new ManualClock();
    const small = createResourceLedger({ total: { cores: 2 }, leasesMax: 2 });
    let changes = 0;
    const slots = new SlotLedger(2, small, clock, () => changes++);
    expect(slots.take('a')).toBe(true);
    expect(small.reserve({ kind: 'attempt', id: '1' }, { exclusive: true })?.code).toBe('MACHINE_NOT_IDLE');
    expect([slots.free(), slots.take('b')]).toEqual([0, false]);
    const before = changes;
    clock.advance(3_000);
    expect(changes).toBe(before + 1);
    expect(slots.free()).toBe(1);
    small.reserve({ kind: 'attempt', id: '1' }, { exclusive: true });
    slots.giveBack('a');
    expect(small.reserve({ kind: 'attempt', id: '1' }, { exclusive: true })).toBeUndefined();
    expect([slots.free(), slots.take('b')]).toEqual([0, false]);
    small.release({ kind: 'attempt', id: '1' });
    expect(slots.free()).toBe(2);
    slots.stop();
    expect(clock.pendingCalls).toBe(0);
  });
});
