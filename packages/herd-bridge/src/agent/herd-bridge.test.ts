import { createMemoryContentStore } from '@drover/content-store';
import { JobEnd } from '@drover/herd-protocol';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { transcript } from '../transcript.test.fixture.ts';
import type { HerdBridgeOptions } from './bridge-options.ts';
import { createHerdBridge, type HerdBridge } from './herd-bridge.ts';
import { RawClient } from './raw-client.test.fixture.ts';
import { strictRunner, type Play, type StrictRunner } from './strict-runner.test.fixture.ts';

let stack: AsyncDisposableStack;
let dir: string;

beforeEach(async () => {
  stack = new AsyncDisposableStack();
  dir = await mkdtemp(join(tmpdir(), 'herd-bridge-'));
  stack.defer(() => rm(dir, { recursive: true }));
});
afterEach(() => stack.disposeAsync());

async function bridge(
  play: Play,
  options: Partial<HerdBridgeOptions> = {},
): Promise<{ bridge: HerdBridge; runner: StrictRunner; client: () => Promise<RawClient> }> {
  const content = stack.use(createMemoryContentStore());
  const runner = strictRunner(content, play);
  const opened = await createHerdBridge(
    {
      networks: ['127.0.0.0/8'],
      spoolFolder: join(dir, 'spool'),
      host: '127.0.0.1',
      discoveryPort: 0,
      jobPort: 0,
      lingerMs: 2_000,
      ...options,
    },
    {
      runner,
      content,
      describe: () => ({
        processors: 2,
        architecture: 'Linux-64',
        loadPercent: 8.522391,
        memoryBytes: 24_106 * 1024 ** 2,
      }),
    },
  );
  stack.use(opened);
  return { bridge: opened, runner, client: async () => stack.use(await RawClient.connect(opened.jobPort)) };
}

/** What the task of `client-job` does. */
const playJob: Play = async (_, { say, files }) => {
  say('<Progress>12.5</Progress>');
  files.set('conf/out.bin', Buffer.from('RES'));
  return undefined;
};

const untilKilled: Play = async (_, { say, signal }) => {
  say('<Progress>1</Progress>');
  say('<Progress>2</Progress>');
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  return { signal: 'SIGKILL' };
};

/** A job with one task and its pipe, after the client has taken the agent. */
function job(body: string): string {
  return `<Internal>You are mine now!</Internal><Job Name="Job #0">${body}</Job>`;
}
const nothing = '<Internal>Job finished correctly</Internal><Job Name="Job #0"></Job>';
const task = '<Task Name="unit-a" Exe="bin/a" Arguments="" Pipe="unit-a"/>';

describe('a job', () => {
  test('is answered byte for byte, and begun as it was asked for', async () => {
    const { client, runner } = await bridge(playJob);
    const raw = await client();
    raw.send(transcript('client-job'));
    expect((await raw.toEnd()).toString('latin1')).toBe(transcript('agent-job').toString('latin1'));
    const { begin, tasks, options, principal } = runner.jobs[0]!;
    expect(principal).toBe('user:legacy@127.0.0.1');
    expect(options).toEqual({
      pipesFolder: '/tmp',
      resumable: false,
      rawItems: true,
      together: true,
      plainNames: true,
    });
    expect(begin.inputs.map(({ path, executable }) => [path, executable])).toEqual([
      ['bin/task.sh', true],
      ['conf/a.txt', false],
    ]);
    expect(begin.outputs).toEqual(['conf/out.bin', 'conf/missing.bin']);
    expect(tasks).toMatchObject([
      { name: 'unit-a', arguments: ['conf/a.txt', '-pipe=unit-a'], workingFolder: 'bin', pipe: { name: 'unit-a' } },
    ]);
    expect(tasks[0]!.exe).toBe(`/jobs/${begin.jobId}/bin/task.sh`);
  });

  test('may come in any order and in the smallest pieces, with any bytes in its files', async () => {
    const firstEnded = Promise.withResolvers<void>();
    const { client, runner } = await bridge(async ({ name }, { say, files }) => {
      if (name === 'unit-2') {
        await firstEnded.promise;
        return undefined;
      }
      say('<Progress>12.500000</Progress>');
      say('<Evaluation>1.0,-2.5</Evaluation>');
      say("<Message>WARNING: no < & ' escaped</Message>");
      say('<Error>ERROR: diverged</Error>');
      files.set('experiments/e1/log.bin', Buffer.from('a</Output>\0</Job>\xff<Job>\n', 'latin1'));
      files.set('experiments/e1/empty', Buffer.alloc(0));
      setImmediate(firstEnded.resolve);
      return { signal: 'SIGSEGV' };
    });
    const raw = await client();
    raw.socket.setNoDelay(true);
    for (const byte of transcript('client-job-any-order')) {
      await new Promise<void>((resolve) => raw.socket.write(Buffer.of(byte), () => resolve()));
    }
    expect((await raw.toEnd()).toString('latin1')).toBe(transcript('agent-job-any-order').toString('latin1'));
    const { begin, tasks } = runner.jobs[0]!;
    expect(begin.inputs.map(({ path, digest }) => [path, digest!.sizeBytes])).toEqual([
      ['bin/RLSimion-x64.exe', 40n],
      ['experiments/e1/unit-1.simion.exp', 0n],
    ]);
    expect(tasks.map(({ pipe }) => pipe?.name)).toEqual(['unit-1', undefined]);
  });

  test('with files of megabytes goes through the content store', async () => {
    const large = Buffer.alloc(3_000_001, '</Input>\n');
    const { client, runner } = await bridge(async (_, { files }) => {
      files.set('d/out', files.get('d/in')!);
      return undefined;
    });
    const raw = await client();
    raw.send(`<Internal>You are mine now!</Internal><Job Name="big">${task}<Input Name="d/in" Size="${large.length}">`);
    raw.send(large);
    raw.send('</Input><Output Name="d/out"/></Job>');
    const received = await raw.toEnd();
    const at = received.indexOf('Size="3000001">') + 15;
    expect(received.subarray(at, at + large.length).equals(large)).toBe(true);
    expect(received.subarray(at + large.length).toString()).toBe('</Output></Job>');
    expect(runner.jobs).toHaveLength(1);
  });

  test('says nothing of tasks that do not start, and `Ok` of every exit code', async () => {
    const { client } = await bridge(async ({ name }) => (name === 'a' ? 'could-not-start' : { exitCode: 3 }));
    const raw = await client();
    raw.send(job('<Task Name="a" Exe="b/a" Arguments="" Pipe="a"/><Task Name="b" Exe="b/b" Arguments="" Pipe="b"/>'));
    expect(String(await raw.toEnd())).toBe(`<b><End>Ok</End></b>${nothing}`);
  });

  test('maps names as an original agent does, and refuses those that leave its folder', async () => {
    const { client, runner } = await bridge(async () => undefined);
    const raw = await client();
    const input = (name: string): string => `<Input Name="${name}" Size="1">x</Input>`;
    raw.send(
      job(
        ['/etc/x', './.hidden', '..\\b\\c', 'a/../../../x', 'd/', '..', 'f/./g//h', 'f', 'q/../r'].map(input).join('') +
          '<Task Name="t" Exe="a/../../x" Arguments="" Pipe="t"/><Output Name="a/../../../../etc/passwd"/>',
      ),
    );
    expect(String(await raw.toEnd())).toBe(nothing);
    const { begin, tasks } = runner.jobs[0]!;
    expect(begin.inputs.map(({ path }) => path)).toEqual(['etc/x', 'hidden', 'b\\c', 'f/g/h', 'r']);
    expect(begin.outputs).toEqual([]);
    expect(tasks).toEqual([]);
  });

  test.each([
    ['an unknown tag', '<Foo/>'],
    ['an unknown tag before a task', `<Requirements></Requirements>${task}`],
    ['the content of an output', '<Output Name="a/b" Size="1">x</Output>'],
    ['a size that is none', '<Input Name="a/b" Size="-1"></Input>'],
    ['a size beyond 32 bits', '<Input Name="a/b" Size="2147483648"></Input>'],
    ['content that is longer than it says', '<Input Name="a/b" Size="1">xy<z></Input>'],
    ['a task without its end', '<Task Name="a" Exe="b">'],
  ])('with %s in it ends at once, as one without results', async (_, body) => {
    const { client, runner } = await bridge(playJob);
    const raw = await client();
    raw.send(job(body));
    expect(String(await raw.toEnd())).toBe(nothing);
    expect(runner.jobs).toHaveLength(0);
  });
});

describe('what a client says first', () => {
  test('may come in two pieces', async () => {
    const { client } = await bridge(playJob);
    const raw = await client();
    raw.socket.setNoDelay(true);
    await new Promise<void>((resolve) => raw.socket.write('<Internal>You are', () => resolve()));
    await new Promise<void>((resolve) => setImmediate(resolve));
    raw.send(' mine now!</Internal>');
    raw.send(transcript('client-job').subarray(38));
    expect(String(await raw.toEnd())).toBe(String(transcript('agent-job')));
  });

  test('closes the connection without a word if it is something else', async () => {
    const { client } = await bridge(playJob);
    const raw = await client();
    raw.send('<Internal>You were mine!</Internal><Job Name="Job #0"></Job>');
    expect(await raw.toEnd()).toHaveLength(0);
  });

  test('must come in time', async () => {
    const { client } = await bridge(playJob, { acquireMs: 50 });
    const raw = await client();
    raw.send('<Internal>You are');
    expect(await raw.toEnd()).toHaveLength(0);
  });
});

describe('a client that stops its job', () => {
  test('is told so without a tag, when all has been killed', async () => {
    const { client, runner } = await bridge(untilKilled);
    const raw = await client();
    raw.send(transcript('client-job'));
    await raw.until('<Progress>2</Progress></unit-a>');
    raw.send(transcript('client-stop'));
    expect(String(await raw.toEnd())).toBe(String(transcript('agent-stopped')));
    expect(await runner.jobs[0]!.ended.promise).toBe(JobEnd.CANCELLED);
  });

  test('may say so without any pipe, behind what means nothing', async () => {
    const { client, runner } = await bridge(async (_, { signal }) => {
      await new Promise((resolve) => signal.addEventListener('abort', resolve));
      return { signal: 'SIGKILL' };
    });
    const raw = await client();
    raw.send(job('<Task Name="a" Exe="b/a" Arguments="" Pipe=""/>'));
    await runner.begun(1);
    raw.send('\0<x><Internal>You are free</Internal>\n<Internal>St');
    raw.send('op</Internal>');
    expect(String(await raw.toEnd())).toBe('Error running job');
  });
});

describe('a client that is a burden', () => {
  test('breaks off: its job is cancelled', async () => {
    const { client, runner } = await bridge(untilKilled);
    const raw = await client();
    raw.send(transcript('client-job'));
    await raw.until('<Progress>2</Progress>');
    raw.socket.resetAndDestroy();
    expect(await runner.jobs[0]!.ended.promise).toBe(JobEnd.CANCELLED);
  });

  test('goes without a word: its job is cancelled after a while', async () => {
    const { client, runner } = await bridge(untilKilled, { halfClosedMs: 50 });
    const raw = await client();
    raw.send(transcript('client-job'));
    await raw.until('<Progress>2</Progress>');
    raw.socket.destroy();
    expect(await runner.jobs[0]!.ended.promise).toBe(JobEnd.CANCELLED);
  });

  test('closes only its half: a job that ends soon is answered', async () => {
    const { bridge: opened } = await bridge(playJob);
    const raw = stack.use(await RawClient.connect(opened.jobPort, true));
    raw.socket.end(transcript('client-job'));
    expect(String(await raw.toEnd())).toBe(String(transcript('agent-job')));
  });

  test('reads nothing: its job is cancelled', async () => {
    const { client, runner } = await bridge(
      async (_, { say, signal }) => {
        const item = `<Message>${'x'.repeat(7_000)}</Message>`;
        while (!signal.aborted) {
          for (let count = 0; count < 100; count++) say(item);
          await new Promise((resolve) => setImmediate(resolve));
        }
        return undefined;
      },
      { stallMs: 100 },
    );
    const raw = await client();
    raw.send(transcript('client-job'));
    await raw.until('<Message>');
    raw.socket.pause();
    expect(await runner.jobs[0]!.ended.promise).toBe(JobEnd.CANCELLED);
  });

  test('trickles its job: its turn ends', async () => {
    const { client } = await bridge(playJob, { stallMs: 50 });
    const raw = await client();
    raw.send(transcript('client-job').subarray(0, 80));
    await raw.toEnd();
    const next = await client();
    next.send(transcript('client-job'));
    expect(String(await next.toEnd())).toBe(String(transcript('agent-job')));
  });
});

describe('the line', () => {
  test('has one job at a time, and the next client waits without a word', async () => {
    const release = Promise.withResolvers<void>();
    const { client, runner } = await bridge(async () => {
      await release.promise;
      return undefined;
    });
    const first = await client();
    first.send(job(task));
    await runner.begun(1);
    const second = await client();
    second.send(job(task));
    await new Promise((resolve) => setImmediate(resolve));
    expect(runner.jobs).toHaveLength(1);
    expect(second.received).toHaveLength(0);
    release.resolve();
    const answer = `<unit-a><End>Ok</End></unit-a>${nothing}`;
    expect(String(await first.toEnd())).toBe(answer);
    expect(String(await second.toEnd())).toBe(answer);
  });

  test('has several jobs at once if it may, ends who waits too long, and who comes when it is full', async () => {
    const release = Promise.withResolvers<void>();
    const { client, runner } = await bridge(() => release.promise.then(() => undefined), {
      jobsMax: 2,
      waitingMax: 1,
      waitMs: 100,
    });
    const clients = [await client(), await client()];
    for (const raw of clients) raw.send(job(task));
    await runner.begun(2);
    const tooMany = [await client(), await client()];
    for (const raw of tooMany) raw.send(job(task));
    const trailer = '<Internal>Job finished correctly</Internal><Job Name=""></Job>';
    for (const raw of tooMany) expect(String(await raw.toEnd())).toBe(trailer);
    release.resolve();
    for (const raw of clients) expect(String(await raw.toEnd())).toContain(nothing);
  });

  test('waits while the agent takes no jobs', async () => {
    const { client, runner } = await bridge(playJob);
    runner.setOpen(false);
    const raw = await client();
    raw.send(transcript('client-job'));
    await new Promise((resolve) => setImmediate(resolve));
    expect(runner.jobs).toHaveLength(0);
    runner.setOpen(true);
    expect(String(await raw.toEnd())).toBe(String(transcript('agent-job')));
  });

  test('tells its clients when the agent stops', async () => {
    const { client, bridge: opened, runner } = await bridge(untilKilled);
    const raw = await client();
    raw.send(transcript('client-job'));
    await raw.until('<Progress>2</Progress>');
    const waiting = await client();
    waiting.send(transcript('client-job'));
    const silent = await client();
    await opened[Symbol.asyncDispose]();
    expect(String(await raw.toEnd())).toContain(nothing);
    expect(await runner.jobs[0]!.ended.promise).toBe(JobEnd.CANCELLED);
    expect(await silent.toEnd()).toHaveLength(0);
  });
});

describe('networks', () => {
  test('must be named, and be networks', async () => {
    await expect(bridge(playJob, { networks: [] })).rejects.toMatchObject({ code: 'HERD_NETWORKS_MISSING' });
    await expect(bridge(playJob, { networks: ['10.0.0.0/33'] })).rejects.toMatchObject({
      code: 'HERD_NETWORK_INVALID',
    });
    await expect(bridge(playJob, { networks: ['lan'] })).rejects.toMatchObject({ code: 'HERD_NETWORK_INVALID' });
  });

  test('that are not named get no answer', async () => {
    const { client } = await bridge(playJob, { networks: ['10.0.0.0/8'] });
    const raw = await client();
    raw.send(transcript('client-job'));
    expect(await raw.toEnd()).toHaveLength(0);
  });

  test('a port that is taken is named', async () => {
    const { bridge: opened } = await bridge(playJob);
    await expect(bridge(playJob, { jobPort: opened.jobPort })).rejects.toMatchObject({ code: 'HERD_PORT_TAKEN' });
    await expect(bridge(playJob, { discoveryPort: opened.discoveryPort })).rejects.toMatchObject({
      code: 'HERD_PORT_TAKEN',
    });
  });
});
