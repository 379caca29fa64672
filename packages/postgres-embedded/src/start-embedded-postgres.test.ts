import { execFileSync } from 'node:child_process';
import { chmod, chown, cp, mkdir, mkdtemp, readdir, readFile, realpath, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { pointerFileName } from './internal/data-place.ts';
import { holdPostgres } from './internal/held-postgres.test.fixture.ts';
import { livePostmaster } from './internal/left-postmaster.ts';
import { findPackage, reachableBinaries } from './internal/postgres-binaries.ts';
import { processFacts } from './internal/process-identity.ts';
import { canEnter, findServerUser, isRoot } from './internal/server-user.ts';
import { startEmbeddedPostgres } from './start-embedded-postgres.ts';

let base: string;
let dataDir: string;
/** A folder in which Postgres ran once: a copy spares a test the making of a cluster. */
let usedBefore: string;

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'drover-postgres-used-'));
  await chmod(folder, 0o711);
  usedBefore = join(folder, 'data');
  await (await startEmbeddedPostgres({ dataDir: usedBefore, isThrowaway: true })).stop();
});
afterAll(() => rm(join(usedBefore, '..'), { recursive: true, force: true }));

beforeEach(async () => {
  base = await realpath(await mkdtemp(join(tmpdir(), 'drover-postgres-')));
  await chmod(base, 0o711);
  dataDir = join(base, 'data');
});
afterEach(() => rm(base, { recursive: true, force: true }));

/** Fills `dataDir` from {@link usedBefore}, owners and modes included. */
const useAgain = (): unknown => execFileSync('cp', ['-a', usedBefore, dataDir]);

async function query(url: string, statement: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(statement)).rows;
  } finally {
    await client.end();
  }
}

const gone = (pid: number): boolean => processFacts(pid) === undefined;

describe('a data folder', () => {
  test('keeps its data over a restart, under the same password', async () => {
    const first = await startEmbeddedPostgres({ dataDir });
    await query(first.url, 'create table kept (value text)');
    await query(first.url, `insert into kept values ('yes')`);
    await first.stop();
    await first.stop();
    expect(await first.exited).toMatchObject({ isExpected: true, status: 0 });

    await using second = await startEmbeddedPostgres({ dataDir });
    expect(await query(second.url, 'select value from kept')).toEqual([{ value: 'yes' }]);
    expect(new URL(second.url).password).toBe(new URL(first.url).password);
  });

  test('is durable, closed to other users and to wrong passwords, and listens on loopback only', async () => {
    useAgain();
    await using postgres = await startEmbeddedPostgres({ dataDir, settings: { work_mem: '8MB' } });
    const [settings] = await query(
      postgres.url,
      `select current_setting('fsync') as fsync, current_setting('synchronous_commit') as commit,
        current_setting('listen_addresses') as listen, current_setting('work_mem') as work_mem,
        current_setting('data_checksums') as checksums`,
    );
    expect(settings).toEqual({ fsync: 'on', commit: 'on', listen: '127.0.0.1', work_mem: '8MB', checksums: 'on' });
    expect((await stat(join(dataDir, 'password'))).mode & 0o777).toBe(0o600);
    expect((await stat(join(dataDir, 'cluster'))).mode & 0o777).toBe(0o700);
    const wrong = new URL(postgres.url);
    wrong.password = 'wrong';
    await expect(query(wrong.href, 'select 1')).rejects.toMatchObject({ code: '28P01' });
  });

  test('is refused while a process holds it, naming that process', async () => {
    useAgain();
    await using _held = await startEmbeddedPostgres({ dataDir });
    await expect(startEmbeddedPostgres({ dataDir })).rejects.toMatchObject({
      code: 'EMBEDDED_POSTGRES_IN_USE',
      details: { pid: process.pid },
    });
    const other = await holdPostgres(dataDir);
    expect(other).toMatchObject({ code: 'EMBEDDED_POSTGRES_IN_USE' });
    expect(other.message).toContain(`process ${process.pid}`);
  });

  test('of another major version is refused and left as it is', async () => {
    useAgain();
    await writeFile(join(dataDir, 'cluster', 'PG_VERSION'), '17\n');
    await expect(startEmbeddedPostgres({ dataDir })).rejects.toMatchObject({
      code: 'EMBEDDED_POSTGRES_VERSION_MISMATCH',
      details: { dataMajor: 17, binaryMajor: 18 },
    });
    expect(await readFile(join(dataDir, 'cluster', 'PG_VERSION'), 'utf8')).toBe('17\n');
  });

  test('whose password file is gone says so', async () => {
    useAgain();
    await rm(join(dataDir, 'password'));
    await expect(startEmbeddedPostgres({ dataDir })).rejects.toMatchObject({ code: 'EMBEDDED_POSTGRES_PASSWORD_LOST' });
  });

  test('that is a file is refused', async () => {
    await writeFile(dataDir, '');
    await expect(startEmbeddedPostgres({ dataDir })).rejects.toMatchObject({ code: 'EMBEDDED_POSTGRES_FOLDER_DENIED' });
  });
});

describe('a start', () => {
  test('that is aborted leaves nothing running and the folder free', async () => {
    const reason = new Error('enough');
    for (const abortWhen of ['initdb', 'server']) {
      const abort = new AbortController();
      const starting = startEmbeddedPostgres({ dataDir, isThrowaway: true, signal: abort.signal });
      const lock = join(dataDir, abortWhen === 'initdb' ? 'owner.json' : 'cluster/postmaster.pid');
      await Promise.race([starting, vi.waitFor(() => stat(lock), { timeout: 10_000, interval: 1 })]);
      abort.abort(reason);
      await expect(starting).rejects.toBe(reason);
      expect(await livePostmaster(join(dataDir, 'cluster'))).toBeUndefined();
      if (abortWhen === 'initdb') await (await startEmbeddedPostgres({ dataDir, isThrowaway: true })).stop();
    }
    await (await startEmbeddedPostgres({ dataDir, isThrowaway: true })).stop();
  });

  test('on a taken port names it, and a wrong port is refused', async () => {
    useAgain();
    await using first = await startEmbeddedPostgres({ dataDir, isThrowaway: true });
    await expect(startEmbeddedPostgres({ dataDir: join(base, 'other'), port: first.port })).rejects.toMatchObject({
      code: 'EMBEDDED_POSTGRES_PORT_IN_USE',
      details: { port: first.port },
    });
    await expect(startEmbeddedPostgres({ dataDir, port: 70_000 })).rejects.toMatchObject({
      code: 'EMBEDDED_POSTGRES_OPTION_INVALID',
    });
  });

  test('with a setting that Postgres refuses shows what Postgres said', async () => {
    useAgain();
    await expect(startEmbeddedPostgres({ dataDir, settings: { work_mem: 'much' } })).rejects.toMatchObject({
      code: 'EMBEDDED_POSTGRES_START_FAILED',
      message: expect.stringContaining('work_mem') as string,
    });
  });

  test('is not misled by a pid file whose pid is now another process, nor by the lock of a dead one', async () => {
    useAgain();
    // Our own parent stands for the process that was given the pid.
    const pidFile = `${process.ppid}\n${dataDir}/cluster\n1\n5432\n\n127.0.0.1\n\nready\n`;
    await writeFile(join(dataDir, 'cluster', 'postmaster.pid'), pidFile);
    await writeFile(
      join(dataDir, 'owner.json'),
      JSON.stringify({ pid: process.ppid, identity: 'an earlier one', nonce: '1' }),
    );
    await using postgres = await startEmbeddedPostgres({ dataDir });
    expect(await query(postgres.url, 'select 1 as one')).toEqual([{ one: 1 }]);
  });
});

describe('a process that is killed', () => {
  test('takes its Postgres with it, and what was committed is there at the next start', async () => {
    useAgain();
    const held = await holdPostgres(dataDir);
    await query(held.url!, 'create table kept as select 1 as value');
    const postmaster = (await livePostmaster(join(dataDir, 'cluster')))!;
    await held.kill();
    await vi.waitFor(() => expect(gone(postmaster)).toBe(true), { timeout: 10_000, interval: 5 });

    await using next = await startEmbeddedPostgres({ dataDir });
    expect(await query(next.url, 'select value from kept')).toEqual([{ value: 1 }]);
  });

  test('together with the watchdog leaves a Postgres that the next start ends first', async () => {
    useAgain();
    const held = await holdPostgres(dataDir);
    await query(held.url!, 'create table kept as select 1 as value');
    const postmaster = (await livePostmaster(join(dataDir, 'cluster')))!;
    for (const pid of await watchdogsOf(postmaster)) process.kill(pid, 'SIGKILL');
    await held.kill();
    expect(gone(postmaster)).toBe(false);

    await using next = await startEmbeddedPostgres({ dataDir });
    expect(gone(postmaster)).toBe(true);
    expect(await query(next.url, 'select value from kept')).toEqual([{ value: 1 }]);
  });
});

test('a Postgres whose watchdog was killed is still stopped by stop()', async () => {
  useAgain();
  await using postgres = await startEmbeddedPostgres({ dataDir, isThrowaway: true });
  const postmaster = (await livePostmaster(join(dataDir, 'cluster')))!;
  for (const pid of await watchdogsOf(postmaster)) process.kill(pid, 'SIGKILL');
  await postgres.stop();
  expect(gone(postmaster)).toBe(true);
});

test('a Postgres that is killed shows as an exit that nobody asked for', async () => {
  useAgain();
  await using postgres = await startEmbeddedPostgres({ dataDir, isThrowaway: true });
  process.kill((await livePostmaster(join(dataDir, 'cluster')))!, 'SIGKILL');
  expect(await postgres.exited).toMatchObject({ isExpected: false, status: 137 });
});

describe.skipIf(!isRoot())('as root [limits:root-only]', () => {
  test('data that the server user cannot enter goes to the relocation folder and is found there again', async () => {
    const wanted = join(base, 'closed', '.drover', 'postgres');
    await mkdir(wanted, { recursive: true });
    await chmod(join(base, 'closed'), 0o700);
    const relocationDir = join(base, 'elsewhere');
    const first = await startEmbeddedPostgres({ dataDir: wanted, relocationDir });
    await query(first.url, 'create table kept as select 1 as value');
    await first.stop();
    expect(first.dataDir.startsWith(`${relocationDir}/postgres-`)).toBe(true);
    expect(await readFile(join(wanted, pointerFileName), 'utf8')).toContain(first.dataDir);

    await using second = await startEmbeddedPostgres({ dataDir: wanted, relocationDir });
    expect(second.dataDir).toBe(first.dataDir);
    expect(await query(second.url, 'select value from kept')).toEqual([{ value: 1 }]);
  });

  test('programs that the server user cannot reach are copied once', async () => {
    const closed = join(base, 'closed');
    await mkdir(closed, { mode: 0o700 });
    await cp(findPackage().nativeDir, join(closed, 'native'), { recursive: true, verbatimSymlinks: true });
    const relocationDir = join(base, 'elsewhere');
    const packaged = { nativeDir: join(closed, 'native'), version: '1.0.0' };
    const binaries = await reachableBinaries(findServerUser(), relocationDir, packaged);
    expect(binaries.postgres.startsWith(relocationDir)).toBe(true);
    const made = (await stat(binaries.postgres)).ino;
    expect((await reachableBinaries(findServerUser(), relocationDir, packaged)).postgres).toBe(binaries.postgres);
    expect((await stat(binaries.postgres)).ino).toBe(made);
  });

  test.skipIf(!isRoot() || !canEnter(import.meta.dirname, findServerUser()))(
    'an ordinary user keeps the data in the wanted folder [limits:checkout-closed-to-others]',
    async () => {
      const ids = findServerUser();
      await mkdir(dataDir, { mode: 0o700 });
      await chown(dataDir, ids.uid, ids.gid);
      const held = await holdPostgres(dataDir, { ids });
      try {
        expect(held).toMatchObject({ dataDir });
        expect(await query(held.url!, 'select 1 as one')).toEqual([{ one: 1 }]);
        expect((await stat(join(dataDir, 'cluster'))).uid).toBe(ids.uid);
      } finally {
        const postmaster = (await livePostmaster(join(dataDir, 'cluster')))!;
        await held.kill();
        await vi.waitFor(() => expect(gone(postmaster)).toBe(true), { timeout: 10_000, interval: 5 });
      }
    },
  );
});

/** The watchdog's shell, which is the server's parent, and its reader, which is the shell's other child. */
async function watchdogsOf(postmaster: number): Promise<number[]> {
  const parents = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    const text = /^\d+$/.test(name) ? await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '') : '';
    if (text !== '') parents.set(Number(name), Number(text.slice(text.lastIndexOf(')') + 2).split(' ')[1]));
  }
  const shell = parents.get(postmaster)!;
  const children = [...parents].filter(([pid, parent]) => parent === shell && pid !== postmaster).map(([pid]) => pid);
  return [shell, ...children];
}
