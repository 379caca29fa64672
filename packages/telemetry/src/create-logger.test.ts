import { DroverError } from '@drover/lease-kit';
import { mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { expect, test } from 'vitest';
import { createLogger, type LoggerOptions } from './create-logger.ts';

function linesOf(format: LoggerOptions['format'], write: (logger: ReturnType<typeof createLogger>) => void): string[] {
  const stream = new PassThrough();
  write(
    createLogger({
      level: 'info',
      format,
      base: { app: 'test' },
      destination: stream as unknown as NodeJS.WriteStream,
    }),
  );
  const text = String(stream.read() ?? '');
  return text.split('\n').filter((line) => line !== '');
}

test('a line is an object with its level, its fields and those of its parents', () => {
  const [line] = linesOf('json', (logger) => logger.child({ leaseId: 'l' }).info({ attempt: 2 }, 'started'));
  expect(JSON.parse(line!)).toMatchObject({ level: 'info', app: 'test', leaseId: 'l', attempt: 2, msg: 'started' });
});

test('lines below the level are not written', () => {
  expect(linesOf('json', (logger) => logger.debug({}, 'x'))).toEqual([]);
});

test('secrets are not written, an error is with its cause', () => {
  const error = new Error('outer', { cause: new Error('inner') });
  const [line] = linesOf('auto', (logger) =>
    logger.error({ token: 'abc', config: { password: 'p' }, err: error }, 'x'),
  );
  expect(line).not.toMatch(/abc|"p"/);
  expect(line).toMatch(/inner/);
});

test('a foreseen error is its code and its message, without a stack', () => {
  const options = { code: 'STORE_UNAVAILABLE', advice: 'unavailable', message: 'the store is away' } as const;
  const error = new DroverError({ ...options, cause: new Error('connect ECONNREFUSED') });
  const [line] = linesOf('json', (logger) => logger.warn({ err: error }, 'x'));
  expect(JSON.parse(line!).err).toEqual({ type: 'DroverError', ...options, cause: 'connect ECONNREFUSED' });
});

test('people read the message first', () => {
  expect(linesOf('pretty', (logger) => logger.warn({ port: 1 }, 'careful'))[0]).toMatch(/WARN.*careful/);
});

test.each([
  ['auto', /^\{"level":"info","time":.*"msg":"one"\}\n$/],
  ['pretty', /INFO.*one/],
] as const)('lines of format %s stand in a file, and after it was moved in the next one', (format, pattern) => {
  const dir = mkdtempSync(join(tmpdir(), 'drover-log-'));
  try {
    const path = join(dir, 'agent.log');
    const logger = createLogger({
      level: 'info',
      format,
      file: { path, sizeBytesMax: 1_000, ageMsMax: 1_000_000, countMax: 1 },
    });
    logger.child({}).info({}, 'one');
    expect(readFileSync(path, 'utf8')).toMatch(pattern);
    renameSync(path, `${path}.1`);
    logger.reopenFile();
    logger.info({}, 'one');
    expect(readFileSync(path, 'utf8')).toMatch(pattern);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
});
