import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { silentLogger, systemClock } from '@drover/lease-kit';
import { CompileClient } from './compile-client.ts';
import { CompileDaemon } from './compile-daemon.ts';
import { createCompileFarm, type Fault } from './compile-farm.fixture.ts';
import { CompilePlaces } from './compile-places.ts';
import { launcherRequestBytes } from './launcher-protocol.ts';
import { RemoteCompiler } from './remote-compiler.ts';

const gcc = '/usr/bin/gcc';
const signal = new AbortController().signal;
let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cc-client-'));
  writeFileSync(join(folder, 'a.c'), '#define SUM(a, b) ((a) + (b))\nint f(int x) { return SUM(x, N); }\n');
  writeFileSync(join(folder, 'warns.c'), 'int f(void) { int unused; return 1; }\n');
});
afterEach(() => rmSync(folder, { recursive: true }));

async function createParts(workers: Readonly<Record<string, Fault | undefined>>) {
  const farm = await createCompileFarm(workers);
  const places = new CompilePlaces({ imageDigest: 'sha256:00' }, { scheduler: farm.scheduler, clock: systemClock });
  const remote = new RemoteCompiler({ imageDigest: 'sha256:00' }, { places });
  const client = new CompileClient({}, { remote, clock: systemClock, logger: silentLogger });
  const compile = (...words: string[]) =>
    client.handle(
      {
        token: '',
        workingFolder: folder,
        umask: 0o027,
        compiler: gcc,
        arguments: words,
        environment: { PATH: process.env['PATH'] ?? '' },
      },
      signal,
    );
  return {
    farm,
    client,
    compile,
    async [Symbol.asyncDispose]() {
      remote[Symbol.dispose]();
      await farm[Symbol.asyncDispose]();
    },
  };
}

describe.skipIf(!existsSync('/usr/bin/gcc'))('the client of compiles [limits:compilers]', () => {
  test('the object and the dependency file are those of the compiler here', async () => {
    await using parts = await createParts({ one: undefined, two: undefined });
    const words = ['-g', '-O2', '-DN=2', '-MD', '-c', 'a.c', '-o', 'a.o'];
    spawnSync(gcc, words, { cwd: folder });
    const [object, dependencies] = [readFileSync(join(folder, 'a.o')), readFileSync(join(folder, 'a.d'), 'utf8')];
    rmSync(join(folder, 'a.o'));
    rmSync(join(folder, 'a.d'));
    expect(await parts.compile(...words)).toEqual({ kind: 'done' });
    expect(readFileSync(join(folder, 'a.o')).equals(object)).toBe(true);
    expect(readFileSync(join(folder, 'a.d'), 'utf8')).toBe(dependencies);
    expect(statSync(join(folder, 'a.o')).mode & 0o777).toBe(0o640);
    expect(parts.client.statistics).toMatchObject({ remote: 1, failed: 0 });
  });

  test('tokens are reserved for many compiles, and each is used once', async () => {
    await using parts = await createParts({ one: undefined, two: undefined });
    const compiles = Array.from({ length: 6 }, (_, at) => parts.compile(`-DN=${at}`, '-c', 'a.c', '-o', `${at}.o`));
    expect((await Promise.all(compiles)).every(({ kind }) => kind === 'done')).toBe(true);
    expect(parts.farm).toMatchObject({ reservations: 1, refused: [] });
    expect(new Set(parts.farm.calls)).toEqual(new Set(['one', 'two']));
  });

  test('equal compiles at one time are one', async () => {
    await using parts = await createParts({ one: undefined });
    await Promise.all(['x', 'y', 'z'].map((name) => parts.compile('-DN=1', '-c', 'a.c', '-o', `${name}/../same.o`)));
    const { remote, shared } = parts.client.statistics;
    expect(remote).toBe(3);
    expect(parts.farm.calls.length + shared).toBe(3);
  });

  test('what warns or fails is left to the compiler here', async () => {
    await using parts = await createParts({ one: undefined });
    expect(await parts.compile('-Wall', '-c', 'warns.c')).toEqual({ kind: 'local', warning: '' });
    expect(await parts.compile('-c', 'a.c')).toEqual({ kind: 'local', warning: '' });
    expect(await parts.compile('a.c', '-o', 'prog')).toEqual({ kind: 'local', warning: '' });
    expect(existsSync(join(folder, 'warns.o'))).toBe(false);
    expect(parts.client.statistics).toMatchObject({ remote: 0, saidSomething: 2, failed: 0, local: { LINKS: 1 } });
  });

  test.each(['breaks', 'tampers', 'wrong-certificate'] as const)(
    'of a worker that %s another one takes over',
    async (fault) => {
      await using parts = await createParts({ one: fault, two: undefined });
      expect(await parts.compile('-DN=1', '-c', 'a.c')).toEqual({ kind: 'done' });
      expect(parts.farm.calls).toEqual(fault === 'wrong-certificate' ? ['two'] : ['one', 'two']);
    },
  );

  test.each([
    [{ one: 'wrong-certificate' }, /shows another certificate/],
    [{ one: 'tampers' }, /digest does not fit/],
    [{}, /No worker has room/],
  ] as const)('with %j the compiler runs here, and one warning says why', async (workers, why) => {
    await using parts = await createParts(workers);
    const reply = await parts.compile('-DN=1', '-c', 'a.c');
    expect(reply).toMatchObject({ kind: 'local', warning: expect.stringMatching(why) });
    expect(await parts.compile('-DN=1', '-c', 'a.c')).toEqual({ kind: 'local', warning: '' });
    expect(existsSync(join(folder, 'a.o'))).toBe(false);
  });

  test('a daemon answers whoever shows its token, and ends when it is idle', async () => {
    const reply = { kind: 'local', warning: 'why' } as const;
    const client = { handle: () => Promise.resolve(reply) };
    const options = { folder: join(folder, 'run'), idleMs: 50 };
    await using daemon = new CompileDaemon(options, { client, clock: systemClock, logger: silentLogger });
    await daemon.start();
    const ask = async (token: string) => {
      const socket = connect(join(options.folder, 'socket'));
      const request = {
        workingFolder: '/',
        umask: 0,
        compiler: gcc,
        arguments: ['-c', 'ä b', ''],
        environment: { A: '=' },
      };
      socket.write(launcherRequestBytes({ token, ...request }));
      return (await text(socket)).slice(4);
    };
    expect(await ask(readFileSync(join(options.folder, 'token'), 'utf8'))).toBe('Lwhy');
    expect(await ask('f'.repeat(64))).toBe('');
    expect(statSync(join(options.folder, 'socket')).mode & 0o777).toBe(0o600);
    await daemon.ended;
  });
});
