import {
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openLogFile, type LogFile, type LogFileOptions } from './open-log-file.ts';

let dir: string;
let path: string;
let fallen: string;
let now: number;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-log-'));
  path = join(dir, 'agent.log');
  fallen = '';
  now = Date.now();
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function open(options: Partial<LogFileOptions> = {}): LogFile {
  return openLogFile(
    { path, sizeBytesMax: 1_000, ageMsMax: 86_400_000, countMax: 3, ...options },
    { fallback: { write: (text) => (fallen += text) }, now: () => now },
  );
}

const written = (): string[] =>
  readdirSync(dir)
    .sort((a, b) => (a === 'agent.log' ? 1 : b === 'agent.log' ? -1 : a < b ? -1 : 1))
    .flatMap((name) => readFileSync(join(dir, name), 'utf8').split('\n').slice(0, -1));

test('a line is in the file when write returns, and nobody else may read it', () => {
  using file = open({ path: join(dir, 'new/agent.log') });
  file.write('one\n');
  expect(readFileSync(join(dir, 'new/agent.log'), 'utf8')).toBe('one\n');
  expect(statSync(join(dir, 'new/agent.log')).mode & 0o007).toBe(0);
});

test('a full file is followed by another, no line is cut or lost, and the oldest go', () => {
  using file = open({ sizeBytesMax: 10 });
  for (let line = 0; line < 9; line += 1) {
    file.write(`line ${line}\n`);
    now += 1_000;
  }
  // Two lines reach the size; three files are kept beside the one that is written.
  expect(written()).toEqual(['line 2', 'line 3', 'line 4', 'line 5', 'line 6', 'line 7', 'line 8']);
  expect(readdirSync(dir)).toHaveLength(4);
});

test('rotations of one second have names of their own', () => {
  using file = open({ sizeBytesMax: 1, countMax: 100 });
  for (let line = 0; line < 20; line += 1) file.write(`line ${line}\n`);
  expect(written()).toEqual(Array.from({ length: 20 }, (_, line) => `line ${line}`));
});

test('an old file is followed by another, one without lines is not', () => {
  using file = open({ ageMsMax: 60_000 });
  now += 120_000;
  file.write('one\n');
  now += 59_000;
  file.write('two\n');
  expect(readdirSync(dir)).toEqual(['agent.log']);
  now += 1_000;
  file.write('three\n');
  expect(readFileSync(path, 'utf8')).toBe('three\n');
  expect(written()).toEqual(['one', 'two', 'three']);
});

test('another process goes on with the file, and its age counts from the first line', () => {
  writeFileSync(path, 'before\n');
  now += 3_600_000;
  using file = open({ ageMsMax: 60_000 });
  file.write('one\n');
  expect(readFileSync(path, 'utf8')).toBe('one\n');
  expect(written()).toEqual(['before', 'one']);
});

describe('another program rotates', () => {
  test('by copying and cutting: what follows stands at the beginning, and the size counts anew', () => {
    using file = open({ sizeBytesMax: 10 });
    file.write('line one\n');
    truncateSync(path);
    file.write('two\n');
    file.write('three\n');
    expect(readFileSync(path, 'utf8')).toBe('two\nthree\n');
    expect(readdirSync(dir)).toEqual(['agent.log']);
  });

  test('by moving: lines follow the file until it is opened anew', () => {
    using file = open();
    file.write('one\n');
    renameSync(path, `${path}.1`);
    file.write('two\n');
    file.reopen();
    file.write('three\n');
    expect(readFileSync(`${path}.1`, 'utf8')).toBe('one\ntwo\n');
    expect(readFileSync(path, 'utf8')).toBe('three\n');
  });

  test('two processes with one file do not rotate it twice', () => {
    using one = open({ sizeBytesMax: 10 });
    using two = open({ sizeBytesMax: 10 });
    one.write('0123456789\n');
    two.write('0123456789\n');
    one.write('a\n');
    two.write('b\n');
    expect(readFileSync(path, 'utf8')).toBe('a\nb\n');
    expect(readdirSync(dir)).toHaveLength(2);
  });
});

test('a file that cannot be opened is refused with what is allowed', () => {
  expect(() => open({ path: join(dir) })).toThrow(
    expect.objectContaining({
      code: 'LOG_FILE_UNWRITABLE',
      message: expect.stringMatching(/^log\.file: .*allowed is/),
    }),
  );
});

test('a file that takes no more lines hands them on and says so once a minute', () => {
  // Everything that is written there is refused: the device is always full.
  using file = open({ path: '/dev/full' });
  file.write('one\n');
  file.write('two\n');
  now += 60_000;
  file.write('three\n');
  expect(fallen).toMatch(/^the log file \/dev\/full cannot be written.*ENOSPC.*\none\ntwo\nthe log file.*\nthree\n$/);
});

test('files beside it that are not its own stay', () => {
  for (const name of ['agent.log.1', 'agent.log.gz', 'other.log.20200101T000000Z']) writeFileSync(join(dir, name), '');
  using file = open({ sizeBytesMax: 1, countMax: 1 });
  for (let line = 0; line < 5; line += 1) file.write('x\n');
  expect(readdirSync(dir)).toHaveLength(5);
  expect(readdirSync(dir)).toEqual(
    expect.arrayContaining(['agent.log.1', 'agent.log.gz', 'other.log.20200101T000000Z']),
  );
});
