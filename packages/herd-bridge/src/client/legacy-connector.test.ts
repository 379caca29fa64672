import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PipeKind, type FoundAgent, type HerdAgentLink, type HerdJobCall } from '@drover/herd-protocol';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createLegacyConnector, type LegacyConnectorOptions } from './legacy-connector.ts';
import { createLegacyFinder } from './legacy-finder.ts';
import { driveJob, localFile } from './legacy-herd.test.fixture.ts';
import { descriptionOf, OriginalAgent, type OriginalAgentOptions } from './original-agent.test.fixture.ts';

const jobId = '01234567-89ab-4def-8123-456789abcdef';
let folder: string;
let cleanUp: AsyncDisposableStack;
const notes: string[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'legacy-connector-'));
  cleanUp = new AsyncDisposableStack();
  cleanUp.defer(() => rm(folder, { recursive: true }));
  notes.length = 0;
});
afterEach(() => cleanUp.disposeAsync());

const signal = new AbortController().signal;
const windows = { describe: (state: string) => descriptionOf(state, 'Win-64') };

interface Begun {
  readonly agent: OriginalAgent;
  readonly link: HerdAgentLink;
  readonly call: HerdJobCall;
}

/** A job with one program, on an agent that behaves so. */
async function begin(
  behaviour: Partial<OriginalAgentOptions> & Pick<OriginalAgentOptions, 'run'>,
  options: LegacyConnectorOptions = {},
  outputs: readonly string[] = [],
): Promise<Begun> {
  const { agent, found } = await startAgent(behaviour);
  const connector = createLegacyConnector(
    { discoveryPort: agent.discoveryPort, stagingFolder: folder, ...options },
    { onNote: (_, text) => notes.push(text) },
  );
  const link = cleanUp.use(await connector.connect(found, signal));
  const files = [
    await localFile(folder, 'bin/run', '#!/bin/sh\n', true),
    await localFile(folder, 'data/in', 'a</Input>\0b'),
  ];
  await link.send(files, signal);
  const inputs = files.map(({ path, digest, executable }) => ({ path, digest, executable }));
  return { agent, link, call: await link.begin({ jobId, name: 'My "job"', inputs, outputs: [...outputs] }, signal) };
}

async function startAgent(
  behaviour: Partial<OriginalAgentOptions> & Pick<OriginalAgentOptions, 'run'>,
): Promise<{ agent: OriginalAgent; found: FoundAgent }> {
  const agent = cleanUp.use(await OriginalAgent.start({ host: '127.0.0.1', ...windows, ...behaviour }));
  const { host, discoveryPort, jobPort } = agent;
  for await (const found of createLegacyFinder({
    broadcast: false,
    hosts: [{ host, discoveryPort, jobPort }],
  }).find()) {
    return { agent, found };
  }
  throw new Error('the agent did not answer');
}

const task = (name: string, pipe: string | undefined = name, more: object = {}) => ({
  name,
  exe: 'bin/run',
  workingFolder: 'bin',
  ...(pipe !== undefined && { pipe: { name: pipe, kind: PipeKind.FIFO } }),
  ...more,
});
const ok = (pipe: string): string => `<${pipe}><End>Ok</End></${pipe}>`;
const nothing = new Map<string, string>();

test('what is sent, byte for byte', async () => {
  const { agent, call } = await begin(
    {
      run: async ({ say }) => {
        await say(ok('unit-a'));
        return nothing;
      },
    },
    { folder: 'shared' },
    ['out/of-job'],
  );
  const one = task('Unit A', 'unit-a', {
    arguments: ['../data/in', '-pipe=unit-a', '{pipe}'],
    outputs: ['out/of-task'],
  });
  await driveJob(call, [one]);
  expect(agent.received).toEqual([
    '<Internal>You are mine now!</Internal>' +
      '<Job Name="My _job_">' +
      '<Input Name="bin/run" Size="10">#!/bin/sh\n</Input>' +
      '<Input Name="data/in" Size="11">a</Input>\0b</Input>' +
      '<Task Name="Unit A" Exe="bin/run" Arguments="../data/in -pipe=unit-a \\\\.\\pipe\\unit-a" Pipe="unit-a"/>' +
      '<Output Name="out/of-job"/>' +
      '<Output Name="out/of-task"/>' +
      '</Job>',
  ]);
  expect(agent.faults).toEqual([]);
});

test('on Unix, in a folder of its own, and after its program was made executable', async () => {
  const { agent, call } = await begin({
    describe: (state) => descriptionOf(state),
    run: async ({ job, say }) => {
      if (job.tasks[0]!.name !== 'probe') await say(ok('unit-a'));
      return nothing;
    },
  });
  await driveJob(call, [task('Unit A', 'unit-a', { arguments: ['a b', `it's`, '', '{pipe}'] })]);
  const [probe, job] = agent.received;
  expect(probe).toBe(
    '<Internal>You are mine now!</Internal><Job Name="My _job_">' +
      '<Input Name="drover-0123456789ab/bin/run" Size="0"></Input>' +
      '<Task Name="probe" Exe="drover-0123456789ab/bin/run" Arguments="" Pipe=""/></Job>',
  );
  expect(job).toContain('<Input Name="drover-0123456789ab/data/in" Size="11">');
  expect(job).toContain(
    `Exe="drover-0123456789ab/bin/run" Arguments="'a b' 'it'\\''s' '' /tmp/unit-a" Pipe="unit-a"/>`,
  );
  expect(agent.faults).toEqual([]);
});

test('items of tasks, two in a segment, one in several, with what no client knows between them', async () => {
  const { call } = await begin({
    run: async ({ say }) => {
      await say('<a><Progress>12.5</Progress></a><b><Message>hel', 'lo</Message></b>');
      await say('\0junk<nobody><Progress>1</Progress></nobody><a><Strange>1</Strange></a>');
      await say(
        '<a><Evaluation>1.5,-2e3</Evaluation></a><a><Progress>many</Progress></a>',
        '<b><Err',
        'or>ERROR: x</Error></b>',
      );
      await say('<a><End>Ok</End></a><b><End>Error</End></b>');
      return nothing;
    },
  });
  expect(await driveJob(call, [task('a'), task('b')])).toEqual([
    'begun',
    'credits 2',
    'started a',
    'a progress 12.5',
    'started b',
    'b message hello',
    'a evaluation 1.5,-2000',
    'b error ERROR: x',
    'ended a SUCCEEDED',
    'ended b FAILED LEGACY_TASK_FAILED',
    'job COMPLETED',
  ]);
});

test('outputs come back, and those that are missing are told', async () => {
  const { call, link } = await begin(
    {
      run: async ({ say }) => {
        await say(ok('a'));
        return new Map([
          ['drover-0123456789ab/out/a', 'x</Output></Job>'],
          ['drover-0123456789ab/out/empty', ''],
        ]);
      },
    },
    {},
    ['out/empty', 'out/none'],
  );
  const said = await driveJob(call, [task('a', 'a', { outputs: ['out/a', 'out/b'] })], ({ message }) => {
    if (message.case === 'output' && message.value.task === 'a') got = message.value.file!.digest!;
  });
  expect(said.slice(3)).toEqual([
    'ended a SUCCEEDED',
    'output out/a 16',
    'missing out/b',
    'output out/empty 0',
    'missing out/none',
    'job COMPLETED',
  ]);
  const target = join(folder, 'results', 'target');
  await link.receive(got!, target, signal);
  await writeFile(target, 'old');
  await link.receive(got!, target, signal);
  expect(await readdir(join(folder, 'results'))).toEqual(['target']);
  expect(await readFile(target, 'latin1')).toBe('x</Output></Job>');
  await expect(link.receive({ ...got!, hash: '00' }, join(folder, 'x'), signal)).rejects.toMatchObject({
    code: 'BLOB_NOT_FOUND',
  });
});
let got: Parameters<HerdAgentLink['receive']>[0] | undefined;

test.each([
  ['that was not asked for', '<Output Name="out/else" Size="1">x</Output></Job>', 'does not ask for'],
  ['that leaves the folder', '<Output Name="../../x" Size="1">x</Output></Job>', 'does not ask for'],
  ['twice', '<Output Name="drover-0123456789ab/out/a" Size="1">x</Output>'.repeat(2), 'twice'],
  [
    'of a size beyond the protocol',
    '<Output Name="drover-0123456789ab/out/a" Size="2147483648">',
    'stands in the results',
  ],
  ['without its end', '<Output Name="drover-0123456789ab/out/a" Size="1">x</Job>', 'end tag of a file'],
  ['cut short', '<Output Name="drover-0123456789ab/out/a" Size="5">xy', 'within a file'],
  ['in unknown words', '<Surprise Name="drover-0123456789ab/out/a">', 'stands in the results'],
])('an agent that sends an output %s is lost, and nothing is written', async (_, text, message) => {
  const { call, link } = await begin({
    run: async ({ say }) => {
      await say(`${ok('a')}<Internal>anything</Internal><Job Name="x">${text}`);
      return 'no results';
    },
  });
  await expect(driveJob(call, [task('a', 'a', { outputs: ['out/a'] })])).rejects.toMatchObject({
    code: 'AGENT_LOST',
    message: expect.stringContaining(message) as string,
  });
  await link[Symbol.asyncDispose]();
  expect((await readdir(folder)).sort()).toEqual(['bin_run', 'data_in']);
});

test('an agent that hangs up while a job runs is lost', async () => {
  const { call } = await begin({
    run: async ({ say, hangUp }) => {
      await say('<a><Progress>1</Progress></a><a><Prog');
      hangUp();
      return 'no results';
    },
  });
  await expect(driveJob(call, [task('a')])).rejects.toMatchObject({ code: 'AGENT_LOST', advice: 'unavailable' });
});

test('tasks beyond its processors wait for the next job, with the inputs sent again', async () => {
  const jobs: string[][] = [];
  const { call, agent } = await begin(
    {
      run: async ({ job, say }) => {
        jobs.push(job.tasks.map(({ name }) => name));
        expect([...job.inputs.keys()].slice(0, 2)).toEqual([
          'drover-0123456789ab/bin/run',
          'drover-0123456789ab/data/in',
        ]);
        for (const { pipe } of job.tasks) await say(ok(pipe));
        return new Map([['drover-0123456789ab/out/all', String(jobs.length)]]);
      },
    },
    {},
    ['out/all'],
  );
  const said = await driveJob(
    call,
    ['a', 'b', 'c', 'd', 'e'].map((name) => task(name)),
  );
  expect(jobs).toEqual([['a', 'b'], ['c', 'd'], ['e']]);
  expect(said.filter((text) => text.startsWith('credits'))).toEqual(['credits 2', 'credits 2', 'credits 2']);
  expect(said.filter((text) => text.startsWith('output'))).toEqual(['output out/all 1']);
  expect(agent.faults).toEqual([]);
});

test('fewer tasks than processors are not kept waiting for more', async () => {
  const { call } = await begin({
    run: async ({ say }) => {
      await say(ok('a'));
      return nothing;
    },
  });
  for await (const { message } of call.responses) {
    if (message.case === 'credits' && message.value.tasks === 2) call.add({ tasks: [task('a')] });
    // Only then does the client know that it has no more.
    if (message.case === 'ended') call.finish();
  }
});

test('tasks without a pipe: their ends are told when they all ended alike', async () => {
  let ends = '<><End>Ok</End></>'.repeat(2);
  const { call } = await begin({
    run: async ({ say }) => {
      await say(ends);
      ends = '<><End>Ok</End></>';
      return nothing;
    },
  });
  const said = await driveJob(
    call,
    ['a', 'b', 'c', 'd'].map((name) => ({ name, exe: 'bin/run', workingFolder: 'bin' })),
  );
  expect(said.filter((text) => text.startsWith('ended'))).toEqual([
    'ended a SUCCEEDED',
    'ended b SUCCEEDED',
    'ended c FAILED LEGACY_END_UNKNOWN',
    'ended d FAILED LEGACY_END_UNKNOWN',
  ]);
});

test('a task of which the agent says nothing could not be started', async () => {
  const { call } = await begin({ run: () => Promise.resolve(nothing) });
  expect((await driveJob(call, [task('a')])).slice(2)).toEqual(['ended a FAILED LEGACY_END_UNKNOWN', 'job COMPLETED']);
});

test('a cancelled job is stopped, and the answer waited for', async () => {
  let heard = '';
  const { call } = await begin({
    run: async (run) => {
      await run.say(ok('b'), '<a><Progress>1</Progress></a>');
      await run.untilHeard();
      heard = run.heard();
      await run.say('<a><Progress>2</Progress></a>', 'Error running job');
      return 'no results';
    },
  });
  const said = await driveJob(call, [task('a'), task('b', 'b', { outputs: ['out/b'] })], ({ message }) => {
    if (message.case !== 'item' || message.value.item.value !== 1) return;
    expect(() => call.cancel(['a'])).toThrow(expect.objectContaining({ code: 'LEGACY_CANCELS_ALL' }));
    call.cancel();
  });
  expect(heard).toBe('<Internal>Stop</Internal>');
  expect(said.slice(-5)).toEqual([
    'a progress 2',
    'ended a CANCELLED',
    'ended b SUCCEEDED',
    'missing out/b',
    'job CANCELLED',
  ]);
});

test('an agent that stops a job by itself has given it up', async () => {
  const { call } = await begin({
    run: async ({ say }) => {
      await say('Error running job');
      return 'no results';
    },
  });
  expect((await driveJob(call, [task('a')])).at(-1)).toBe('job GIVEN_UP LEGACY_JOB_STOPPED');
});

test('tasks that were not sent yet are taken back one by one', async () => {
  const { call } = await begin({
    run: async ({ job, say }) => {
      for (const { pipe } of job.tasks) await say(ok(pipe));
      return nothing;
    },
  });
  const said: string[] = [];
  let isAdded = false;
  const driven = driveJob(call, [], (response) => {
    if (response.message.case === 'credits' && !isAdded) {
      isAdded = true;
      call.add({ tasks: [task('a'), task('b')] });
      call.cancel(['a']);
      call.finish();
    }
  });
  said.push(...(await driven));
  expect(said.slice(2)).toEqual(['ended a CANCELLED', 'started b', 'ended b SUCCEEDED', 'job COMPLETED']);
});

test('an agent that does not stop is told of, and left after its grace', async () => {
  const { call } = await begin(
    {
      run: async ({ say, untilHeard }) => {
        await say('<a><Progress>1</Progress></a>');
        await untilHeard();
        await gone;
        return 'no results';
      },
    },
    { stopGraceMs: 40 },
  );
  const { promise: gone, resolve: leave } = Promise.withResolvers<void>();
  const said = await driveJob(call, [task('a')], ({ message }) => {
    if (message.case === 'item') call.cancel();
  });
  leave();
  expect(said.slice(-2)).toEqual(['ended a CANCELLED', 'job CANCELLED']);
  expect(notes).toEqual([expect.stringContaining('did not stop within 40 ms')]);
});

test('silence is told once, and is fatal only when a limit says so', async () => {
  const { promise: gone, resolve: leave } = Promise.withResolvers<void>();
  const { call } = await begin(
    {
      run: async () => {
        await gone;
        return 'no results';
      },
    },
    { silenceNoteMs: 20, silenceLimitMs: 100 },
  );
  await expect(driveJob(call, [task('a')])).rejects.toMatchObject({
    code: 'AGENT_LOST',
    message: 'nothing came or went for 100 ms',
  });
  leave();
  expect(notes).toEqual([expect.stringContaining('nothing was heard')]);
});

test('an input that changed while it was sent: the job is brought to its end, without tasks', async () => {
  const { call, agent } = await begin({ run: () => Promise.resolve(nothing) });
  await writeFile(join(folder, 'data_in'), 'other bytes');
  await expect(driveJob(call, [task('a')])).rejects.toMatchObject({ code: 'HERD_INPUT_CHANGED' });
  expect(agent.received[0]).toMatch(/<\/Input><\/Job>$/);
  expect(agent.faults).toEqual([]);
});

test('a busy agent is not sent a job, nor one that does not answer', async () => {
  const { agent, found } = await startAgent({ run: () => Promise.resolve(nothing) });
  const connector = createLegacyConnector({
    discoveryPort: agent.discoveryPort,
    discoveryTimeoutMs: 50,
    stagingFolder: folder,
  });
  agent.beBusy();
  const link = cleanUp.use(await connector.connect(found, signal));
  await expect(link.begin({ jobId }, signal)).rejects.toMatchObject({ code: 'AGENT_BUSY', advice: 'unavailable' });
  const gone = { ...found, addresses: [{ host: '127.0.0.2', port: 1 }] };
  await expect(connector.connect(gone, signal)).rejects.toMatchObject({ code: 'AGENT_UNREACHABLE' });
  expect(agent.received).toEqual([]);
});

test('an agent without a number of processors gets no work', async () => {
  const { agent, found } = await startAgent({
    describe: (state) => descriptionOf(state).replace(/<NumCPUCores>.*<\/NumCPUCores>/, ''),
    run: () => Promise.resolve(nothing),
  });
  expect(found.slots).toEqual({ total: 0, free: 0 });
  const connector = createLegacyConnector({ discoveryPort: agent.discoveryPort, stagingFolder: folder });
  const link = cleanUp.use(await connector.connect(found, signal));
  await expect(link.begin({ jobId }, signal)).rejects.toMatchObject({ code: 'AGENT_WITHOUT_SLOTS' });
});

test('a link that is closed closes the connection at once', async () => {
  const { promise: gone, resolve: leave } = Promise.withResolvers<void>();
  const { agent, found } = await startAgent({
    run: async ({ say }) => {
      await say('<a><Progress>1</Progress></a>');
      await gone;
      return 'no results';
    },
  });
  const connector = createLegacyConnector({ discoveryPort: agent.discoveryPort, stagingFolder: folder });
  const link = cleanUp.use(await connector.connect(found, signal));
  const file = await localFile(folder, 'bin/run', 'x');
  await link.send([file], signal);
  const beginning = new AbortController();
  const call = await link.begin({ jobId, inputs: [{ path: file.path, digest: file.digest }] }, beginning.signal);
  // It has begun: what it was begun with has no part in it any more.
  beginning.abort();
  const driven = driveJob(call, [task('a')], ({ message }) => {
    if (message.case === 'item') void link[Symbol.asyncDispose]();
  });
  await expect(driven).rejects.toMatchObject({ code: 'LINK_CLOSED' });
  leave();
});

test.each([
  ['an output that no name can say', { outputs: ['out/ü'] }, 'only ASCII'],
  ['an output with a quote', { outputs: ['out/"x"'] }, 'no escape'],
])('%s is refused before anything is sent', async (_, job, message) => {
  const { agent, found } = await startAgent({ run: () => Promise.resolve(nothing) });
  const connector = createLegacyConnector({ discoveryPort: agent.discoveryPort, stagingFolder: folder });
  const link = cleanUp.use(await connector.connect(found, signal));
  await expect(link.begin({ jobId, ...job }, signal)).rejects.toMatchObject({
    code: 'HERD_JOB_INVALID',
    message: expect.stringContaining(message) as string,
  });
  expect(agent.received).toEqual([]);
});
