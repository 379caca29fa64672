import { appendFile, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DroverError, silentLogger, systemClock } from '@drover/lease-kit';
import { SecretMask } from '@drover/lease-secrets';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AttemptFolder } from './attempt-folder.ts';
import { LogUploader, pieceSizeBytesMax, type LogPiece } from './log-uploader.ts';

const owner = { leaseId: 'lease-1', attempt: 1 };
let root: string;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'drover-logs-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

/** The server's side of logs: keeps bytes by offset, as LogStore says. */
class KeptLogs {
  readonly kept = new Map<string, Buffer>();
  readonly complete = new Set<string>();
  readonly pieces: { log: string; offset: number; size: number }[] = [];
  failure: unknown;

  readonly append = (piece: LogPiece): Promise<number> => {
    if (this.failure) return Promise.reject(this.failure);
    this.pieces.push({ log: piece.log, offset: piece.offset, size: piece.data.length });
    const have = this.kept.get(piece.log) ?? Buffer.alloc(0);
    if (piece.offset > have.length) return Promise.resolve(have.length);
    const fresh = piece.data.subarray(Math.max(0, have.length - piece.offset));
    const now = Buffer.concat([have, fresh]);
    this.kept.set(piece.log, now);
    if (piece.complete) this.complete.add(piece.log);
    return Promise.resolve(now.length);
  };

  text(log: string): string | undefined {
    return this.kept.get(log)?.toString();
  }
}

const uploaderOf = (server: KeptLogs, stallMs = 30_000) => {
  const uploader = new LogUploader(
    { append: server.append, clock: systemClock, logger: silentLogger },
    { batchDelayMs: 5, watchMs: 5, stallMs },
  );
  uploader.online();
  return uploader;
};

describe('LogUploader', () => {
  test('carries what is written, in order, and says when it is complete', async () => {
    const server = new KeptLogs();
    const uploader = uploaderOf(server);
    const log = uploader.open(owner, new AttemptFolder(root, owner, false)).log('step');
    for (let line = 0; line < 100; line++) await log.write(`line ${line}\n`);
    await log.complete();
    expect(server.text('step')).toBe(Array.from({ length: 100 }, (_, line) => `line ${line}\n`).join(''));
    expect(server.complete).toEqual(new Set(['step']));
    await expect(log.write('more')).rejects.toMatchObject({ code: 'LOG_COMPLETE' });
    await uploader.close();
  });

  test('carries what another process appends to the file while it grows', async () => {
    const server = new KeptLogs();
    const uploader = uploaderOf(server);
    const logs = uploader.open(owner, new AttemptFolder(root, owner, false));
    const { path } = logs.log('child');
    await appendFile(path, 'first ');
    await expect.poll(() => server.text('child')).toBe('first ');
    await appendFile(path, 'second');
    await expect.poll(() => server.text('child')).toBe('first second');
    await appendFile(path, ' last');
    await logs.complete();
    expect(server.text('child')).toBe('first second last');
    await uploader.close();
  });

  test('a large log goes in pieces of the allowed size', async () => {
    const server = new KeptLogs();
    const uploader = uploaderOf(server);
    const log = uploader.open(owner, new AttemptFolder(root, owner, false)).log('large');
    const data = Buffer.alloc(3 * pieceSizeBytesMax + 17, 'x');
    await log.write(data);
    await log.complete();
    expect(server.kept.get('large')!.equals(data)).toBe(true);
    expect(Math.max(...server.pieces.map(({ size }) => size))).toBe(pieceSizeBytesMax);
    await uploader.close();
  });

  test('goes on after a restart from what the server has', async () => {
    const server = new KeptLogs();
    server.kept.set('a/b', Buffer.from('alpha '));
    const long = 'n'.repeat(250);
    const first = new AttemptFolder(root, owner, false);
    const before = new LogUploader({ append: server.append, clock: systemClock, logger: silentLogger });
    await before.open(owner, first).log('a/b').write('alpha beta');
    await before.open(owner, first).log(long).write('tail');
    await before.close();

    const folder = new AttemptFolder(root, owner, true);
    const uploader = uploaderOf(server);
    const logs = uploader.open(owner, folder);
    await uploader.adopt(logs, folder);
    await logs.complete();
    expect(server.text('a/b')).toBe('alpha beta');
    expect(server.text(long)).toBe('tail');
    expect(server.pieces.filter(({ log, size }) => log === 'a/b' && size > 0)).toEqual([
      { log: 'a/b', offset: 6, size: 4 },
    ]);
    await uploader.close();
  });

  test('waits for a server that is away and loses nothing', async () => {
    const server = new KeptLogs();
    const uploader = uploaderOf(server);
    uploader.offline();
    const logs = uploader.open(owner, new AttemptFolder(root, owner, false));
    await logs.log('step').write('kept');
    const done = logs.complete();
    server.failure = new DroverError({ code: 'RPC_UNAVAILABLE', advice: 'unavailable', message: 'away' });
    uploader.online();
    await Promise.resolve();
    server.failure = undefined;
    await done;
    expect(server.text('step')).toBe('kept');
    await uploader.close();
  });

  test('gives up a log that the server refuses, and one that it takes nothing of', async () => {
    const server = new KeptLogs();
    const uploader = uploaderOf(server, 50);
    server.failure = new DroverError({ code: 'LOG_FULL', advice: 'exhausted', message: 'full' });
    const logs = uploader.open(owner, new AttemptFolder(root, owner, false));
    await logs.log('full').write('x');
    await logs.complete();
    server.failure = new DroverError({ code: 'RPC_UNAVAILABLE', advice: 'unavailable', message: 'busy' });
    const stalled = uploader.open(
      { leaseId: 'lease-2', attempt: 1 },
      new AttemptFolder(root, { ...owner, attempt: 2 }, false),
    );
    await stalled.log('stalled').write('x');
    await stalled.complete();
    await uploader.close();
  });

  test('nobody waits for an attempt whose link has ended', async () => {
    const uploader = uploaderOf(new KeptLogs());
    uploader.offline();
    const logs = uploader.open(owner, new AttemptFolder(root, owner, false));
    await logs.log('step').write('x');
    const done = logs.complete();
    await logs.abandon();
    await done;
    await uploader.close();
  });

  test('a name that would leave the folder does not, and bounds hold', async () => {
    const server = new KeptLogs();
    const uploader = uploaderOf(server);
    const folder = new AttemptFolder(root, { leaseId: '../../etc', attempt: 1 }, false);
    expect(folder.path.startsWith(`${root}/~`)).toBe(true);
    const logs = uploader.open(owner, folder);
    expect(logs.log('../../passwd').path.startsWith(`${folder.logsPath}/`)).toBe(true);
    expect(() => logs.log('')).toThrow(/1 to 256 characters/);
    expect(() => logs.log('x'.repeat(257))).toThrow(/1 to 256 characters/);
    for (let index = 1; index < 256; index++) logs.log(`log ${index}`);
    expect(() => logs.log('one too many')).toThrow(/which is the most/);
    await uploader.close();
  });

  test('a left file that is no log is left alone', async () => {
    const folder = new AttemptFolder(root, owner, true);
    await mkdir(folder.logsPath, { recursive: true });
    await writeFile(join(folder.logsPath, '%zz.log'), 'x');
    const uploader = uploaderOf(new KeptLogs());
    const logs = uploader.open(owner, folder);
    await uploader.adopt(logs, folder);
    expect(logs.used).toBe(false);
    await uploader.close();
  });
});

describe('secrets', () => {
  const mask = new SecretMask([Buffer.from('hunter2')]);

  test('are blotted out of what is carried, also where a piece ends in the middle of one', async () => {
    const server = new KeptLogs();
    const uploader = uploaderOf(server);
    const logs = uploader.open(owner, new AttemptFolder(root, owner, false));
    logs.mask(mask);
    const log = logs.log('step');
    await log.write('it is hun');
    await expect.poll(() => server.text('step')).toBe('it is ');
    await log.write('ter2, hunt');
    await expect.poll(() => server.text('step')).toBe('it is *******, ');
    await log.complete();
    expect(server.text('step')).toBe('it is *******, hunt');
    const pieces: Uint8Array[] = [];
    for await (const piece of log.content()) pieces.push(piece);
    expect(Buffer.concat(pieces).toString()).toBe('it is *******, hunt');
    await uploader.close();
  });

  test('that are not known yet keep back all that an earlier process left', async () => {
    const server = new KeptLogs();
    const uploader = uploaderOf(server);
    new AttemptFolder(root, owner, false).markSecret();
    const folder = new AttemptFolder(root, owner, true);
    expect(folder.mayHoldSecrets).toBe(true);
    await writeFile(join(folder.logsDir(), 'step.log'), 'hunter2');
    const logs = uploader.open(owner, folder);
    logs.withhold();
    await uploader.adopt(logs, folder);
    const other = uploader.open({ leaseId: 'lease-2', attempt: 1 }, new AttemptFolder(root, owner, false)).log('other');
    await other.write('free');
    await expect.poll(() => server.text('other')).toBe('free');
    expect(server.pieces.filter(({ log, size }) => log === 'step' && size > 0)).toEqual([]);
    logs.mask(mask);
    await logs.complete();
    expect(server.text('step')).toBe('*******');
    await uploader.close();
  });
});
