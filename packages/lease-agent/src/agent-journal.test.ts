import {
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
  appendFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { silentLogger } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AgentJournal, type JournalDisk } from './agent-journal.ts';
import { DurableJournal } from './durable-journal.ts';
import { decodeRecords, encodeRecords, journalMagic, type JournalRecord } from './journal-record.ts';

let dir: string;
let path: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-journal-'));
  path = join(dir, 'journal');
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const key = (leaseId: string, attempt = 1) => ({ leaseId, attempt });
const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const real = (calls: Partial<JournalDisk>): JournalDisk => ({
  write: (fd, data, position) => {
    appendAt(fd, data, position);
    return data.length;
  },
  sync: () => Promise.resolve(),
  ...calls,
});
function appendAt(fd: number, data: Uint8Array, position: number): void {
  writeSync(fd, data, 0, data.length, position);
}

describe('AgentJournal', () => {
  test('gives back what was promised', async () => {
    const { journal } = AgentJournal.open(path);
    journal.append([{ kind: 'accepted', key: key('a'), cutOff: 'stop', work: bytes('work') }], false);
    await journal.append(
      [
        { kind: 'accepted', key: key('b'), cutOff: 'go-on' },
        { kind: 'ended', key: key('b'), report: bytes('report') },
        { kind: 'accepted', key: key('c'), cutOff: 'go-on' },
        { kind: 'finished', key: key('c'), report: bytes('end') },
        { kind: 'accepted', key: key('d'), cutOff: 'go-on' },
        { kind: 'dropped', key: key('d') },
      ],
      true,
    );
    await journal.close();
    const again = AgentJournal.open(path);
    expect(again.droppedBytes).toBe(0);
    expect(again.journal.proven).toEqual([
      { key: key('a'), cutOff: 'stop', finished: false, work: bytes('work') },
      { key: key('b'), cutOff: 'go-on', finished: false, report: bytes('report') },
      // How to stop what has ended is of no interest.
      { key: key('c'), cutOff: 'go-on', finished: true, report: bytes('end') },
    ]);
    await again.journal.close();
  });

  test('a finished record without a report tells the one that was kept', async () => {
    const { journal } = AgentJournal.open(path);
    journal.append(
      [
        { kind: 'ended', key: key('a'), report: bytes('report') },
        { kind: 'finished', key: key('a') },
      ],
      false,
    );
    await journal.close();
    const { journal: again } = AgentJournal.open(path);
    expect(again.proven).toMatchObject([{ finished: true, report: bytes('report') }]);
    await again.close();
  });

  test('one of another format is refused and left alone', () => {
    writeFileSync(path, 'DROVERJ2 and what it proves');
    expect(() => AgentJournal.open(path)).toThrow(expect.objectContaining({ code: 'JOURNAL_UNKNOWN' }));
    expect(readFileSync(path, 'utf8')).toBe('DROVERJ2 and what it proves');
  });

  test('a torn tail costs the torn record and nothing else', async () => {
    const { journal } = AgentJournal.open(path);
    journal.append([{ kind: 'accepted', key: key('a'), cutOff: 'go-on' }], false);
    const whole = statSync(path).size;
    journal.append([{ kind: 'accepted', key: key('b'), cutOff: 'go-on' }], false);
    await journal.close();
    const size = statSync(path).size;
    for (let cut = whole; cut < size; cut++) {
      const torn = join(dir, `torn-${cut}`);
      writeFileSync(torn, readFileSync(path).subarray(0, cut));
      const { journal: again, droppedBytes } = AgentJournal.open(torn);
      expect(again.proven.map((one) => one.key.leaseId)).toEqual(['a']);
      expect(droppedBytes).toBe(cut - whole);
      await again.close();
    }
    appendFileSync(path, Buffer.alloc(100));
    const { journal: after, droppedBytes } = AgentJournal.open(path);
    expect(after.proven).toHaveLength(2);
    expect(droppedBytes).toBe(100);
    await after.close();
    truncateSync(path, 3);
    const { journal: none } = AgentJournal.open(path);
    expect(none.proven).toEqual([]);
    await none.close();
  });

  test('is written anew when it has grown and little of it is alive', async () => {
    const { journal } = AgentJournal.open(path);
    const work = new Uint8Array(64 * 1024);
    journal.append([{ kind: 'accepted', key: key('kept'), cutOff: 'go-on' }], false);
    for (let round = 0; round < 200; round++) {
      journal.append([{ kind: 'accepted', key: key(`${round}`), cutOff: 'go-on', work }], false);
      journal.append([{ kind: 'dropped', key: key(`${round}`) }], false);
    }
    expect(statSync(path).size).toBeLessThan(5 * 1024 * 1024);
    expect(journal.proven.map((one) => one.key.leaseId)).toEqual(['kept']);
    await journal.close();
  });

  test('syncs that come together are one', async () => {
    let syncs = 0;
    const releases: (() => void)[] = [];
    const { journal } = AgentJournal.open(
      path,
      real({ sync: () => new Promise((resolve) => (syncs++, releases.push(resolve))) }),
    );
    const waits = ['a', 'b', 'c', 'd'].map((id) =>
      journal.append([{ kind: 'finished', key: key(id), report: bytes('x') }], true),
    );
    releases[0]!();
    await waits[0];
    await expect.poll(() => syncs).toBe(2);
    releases[1]!();
    await Promise.all(waits);
    expect(syncs).toBe(2);
    await journal.close();
  });

  test('a sync that failed fails those that waited for it: the pages of both may be lost', async () => {
    const syncs: PromiseWithResolvers<void>[] = [];
    const { journal } = AgentJournal.open(
      path,
      real({
        sync: () => {
          const sync = Promise.withResolvers<void>();
          syncs.push(sync);
          return sync.promise;
        },
      }),
    );
    const finished = (id: string) => [{ kind: 'finished' as const, key: key(id), report: bytes('x') }];
    const first = journal.append(finished('a'), true);
    const second = journal.append(finished('b'), true);
    syncs[0]!.reject(new Error('EIO'));
    await expect(first).rejects.toThrow('EIO');
    // A kernel reports a lost page once: the next sync of the same file succeeds without it.
    syncs[1]?.resolve();
    await expect(second).rejects.toThrow('damaged');
    // The next one writes the file anew, on which nothing has failed.
    const third = journal.append(finished('b'), true);
    syncs.at(-1)!.resolve();
    await third;
    await journal.close();
  });

  test.each([[0], [1], [9], [16]])('a full disk after %i bytes leaves no half record behind', async (room) => {
    let left = Infinity;
    const full = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    const { journal } = AgentJournal.open(
      path,
      real({
        write: (fd, data, position) => {
          if (left === 0) throw full;
          const part = data.subarray(0, Math.min(left, data.length));
          appendAt(fd, part, position);
          left -= part.length;
          return part.length;
        },
      }),
    );
    journal.append([{ kind: 'accepted', key: key('a'), cutOff: 'go-on' }], false);
    left = room;
    expect(() => journal.append([{ kind: 'accepted', key: key('b'), cutOff: 'go-on' }], false)).toThrow(full);
    expect(journal.proven.map((one) => one.key.leaseId)).toEqual(['a']);
    left = Infinity;
    journal.append([{ kind: 'accepted', key: key('c'), cutOff: 'go-on' }], false);
    await journal.close();
    const again = AgentJournal.open(path);
    expect(again.droppedBytes).toBe(0);
    expect(again.journal.proven.map((one) => one.key.leaseId)).toEqual(['a', 'c']);
    await again.journal.close();
  });
});

test('DurableJournal: a disk that fails is tried again until it does not, and somebody is told', async () => {
  let failing = true;
  const clock = new ManualClock();
  const troubles: (string | undefined)[] = [];
  const { journal } = AgentJournal.open(
    path,
    real({ sync: () => (failing ? Promise.reject(new Error('EIO')) : Promise.resolve()) }),
  );
  const durable = new DurableJournal(journal, {
    clock,
    logger: silentLogger,
    onTrouble: (error) => troubles.push(error?.message),
  });
  const written = durable.append([{ kind: 'finished', key: key('a'), report: bytes('x') }], true);
  await expect.poll(() => durable.inTrouble).toBe(true);
  failing = false;
  await expect.poll(() => clock.pendingCalls).toBe(1);
  clock.advance(1_000);
  await written;
  expect(troubles).toEqual(['EIO', undefined]);
  await durable.close();
  const { journal: again } = AgentJournal.open(path);
  expect(again.proven.map((one) => one.key.leaseId)).toEqual(['a']);
  await again.close();
});

test('DurableJournal: closing gives a write up that waits', async () => {
  const { journal } = AgentJournal.open(path, real({ sync: () => Promise.reject(new Error('EIO')) }));
  const clock = new ManualClock();
  const durable = new DurableJournal(journal, { clock, logger: silentLogger, onTrouble: () => undefined });
  const written = durable.append([{ kind: 'finished', key: key('a'), report: bytes('x') }], true);
  await expect.poll(() => clock.pendingCalls).toBe(1);
  await durable.close();
  await expect(written).rejects.toThrow('EIO');
});

test('records come back as they were written, and damage is noticed', () => {
  const record: fc.Arbitrary<JournalRecord> = fc
    .record({
      key: fc.record({
        leaseId: fc.string({ minLength: 1, maxLength: 64 }),
        attempt: fc.integer({ min: 1, max: 2 ** 32 - 1 }),
      }),
      data: fc.uint8Array({ minLength: 1, maxLength: 50 }),
      cutOff: fc.constantFrom('stop' as const, 'go-on' as const),
      kind: fc.constantFrom('accepted' as const, 'ended' as const, 'finished' as const, 'dropped' as const),
    })
    .map(({ key: name, data, cutOff, kind }) => {
      const rest = Uint8Array.from(data);
      if (kind === 'accepted') return { kind, key: name, cutOff, work: rest };
      return kind === 'dropped' ? { kind, key: name } : { kind, key: name, report: rest };
    });
  fc.assert(
    fc.property(
      fc.array(record, { minLength: 1, maxLength: 10 }),
      fc.nat(),
      fc.integer({ min: 1, max: 255 }),
      (all, at, flip) => {
        const file = Buffer.concat([journalMagic, encodeRecords(all)]);
        expect(decodeRecords(file)).toEqual({ records: all, readableBytes: file.length });
        const damaged = Buffer.from(file);
        damaged[at % file.length]! ^= flip;
        const { records, readableBytes } = decodeRecords(damaged);
        expect(readableBytes).toBeLessThan(file.length);
        expect(all.slice(0, records.length)).toEqual(records);
      },
    ),
  );
});
