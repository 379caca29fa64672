import { isDroverError } from '@drover/lease-kit';
import { Command } from 'commander';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { defineAppConfig } from './app-config.ts';
import { addConfigOptions, configFromCommand } from './config-command.ts';
import { byteSize, duration, secret } from './config-quantities.ts';

const definition = defineAppConfig({
  name: 'app',
  envPrefix: 'APP',
  aliases: { DATABASE_URL: 'postgres.url' },
  schema: z.strictObject({
    listen: z
      .strictObject({
        host: z.string().default('127.0.0.1').describe('Address.'),
        port: z.int().min(0).max(65_535).default(80).describe('TCP port.'),
      })
      .prefault({}),
    postgres: z.strictObject({ url: secret().optional().describe('Database.') }).prefault({}),
    limits: z
      .strictObject({
        size_max: byteSize().default(1_048_576).describe('Most bytes.'),
        wait: duration().default(30_000).describe('Longest wait.'),
        least: duration({ minMs: 1_000 }).optional(),
        range: duration({ minMs: 1_000, maxMs: 86_400_000 }).optional(),
        pools: z.array(z.string()).default([]),
      })
      .prefault({}),
    parts: z.record(z.string(), z.record(z.string(), z.unknown())).default({}).describe('Tables of parts.'),
  }),
});

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'app-config-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function read(argv: string[], options: { toml?: string; env?: Record<string, string> } = {}) {
  const command = addConfigOptions(new Command().exitOverride(), definition);
  if (options.toml !== undefined) writeFileSync(join(dir, 'app.toml'), options.toml);
  command.parse([...(options.toml === undefined ? [] : ['--config', 'app.toml']), ...argv], { from: 'user' });
  return configFromCommand(definition, command, { env: options.env ?? {}, cwd: dir });
}

function value(argv: string[], options: { toml?: string; env?: Record<string, string> } = {}) {
  const request = read(argv, options);
  if (request.kind !== 'run') throw new Error(request.text);
  return request.config.value;
}

function fault(argv: string[], options: { toml?: string; env?: Record<string, string> } = {}): string {
  try {
    read(argv, options);
  } catch (error) {
    if (isDroverError(error, 'CONFIG_INVALID')) return error.message;
    throw error;
  }
  throw new Error('it was taken');
}

test('a flag that is on or off takes either, and alone is on', () => {
  const schema = z.strictObject({ on: z.boolean().default(true), off: z.boolean().default(false) });
  const switches = defineAppConfig({ name: 'app', envPrefix: 'APP', schema });
  const valueOf = (...argv: string[]) => {
    const command = addConfigOptions(new Command().exitOverride(), switches).parse(argv, { from: 'user' });
    const request = configFromCommand(switches, command, { env: {}, cwd: dir });
    return request.kind === 'run' ? request.config.value : request.text;
  };
  expect(valueOf()).toEqual({ on: true, off: false });
  expect(valueOf('--off', '--on=false')).toEqual({ on: false, off: true });
  expect(valueOf('--off', 'true', '--on', 'false')).toEqual({ on: false, off: true });
  expect(() => valueOf('--on=maybe')).toThrow(/--on: on: .*boolean/);
});

describe('a configuration', () => {
  test('has its defaults', () => {
    expect(value([])).toEqual({
      listen: { host: '127.0.0.1', port: 80 },
      parts: {},
      postgres: {},
      limits: { size_max: 1_048_576, wait: 30_000, pools: [] },
    });
  });

  test('takes the file, over it the environment, over that the flags', () => {
    const toml = '[listen]\nport = 1\nhost = "a"\n[limits]\nwait = "2min"';
    const env = { APP_LISTEN_HOST: 'b', APP_LISTEN_PORT: '2' };
    expect(value(['--listen-port', '3'], { toml, env })).toMatchObject({
      listen: { host: 'b', port: 3 },
      limits: { wait: 120_000 },
    });
  });

  test('takes lists and the names that others gave a variable', () => {
    const found = value(['--limits-pools', 'x', 'y', '--limits-size-max', '2gb'], {
      env: { DATABASE_URL: 'postgres://x' },
    });
    expect(found.limits).toMatchObject({ pools: ['x', 'y'], size_max: 2 ** 31 });
    expect(found.postgres.url).toBe('postgres://x');
  });

  test.each([
    [
      'a key that is not known',
      '[listen]\nprot = 1',
      /^app\.toml:2: listen\.prot is not known; did you mean listen\.port\?$/,
    ],
    [
      'a wrong type',
      '[listen]\nport = "x"',
      /^app\.toml:2: listen\.port: .*expected (int|number), received string \(TCP port\.\)$/,
    ],
    ['a value out of bounds', '[listen]\nhost="x"\nport = 70000', /^app\.toml:3: listen\.port: .*65535/],
    [
      'a duration that is none',
      '[limits]\nwait = "2 minutes"',
      /^app\.toml:2: limits\.wait: is no duration; allowed is .*"30s"/,
    ],
    [
      'a duration that is too short',
      '[limits]\nleast = "1ms"',
      /^app\.toml:2: limits\.least: is out of range; allowed is at least 1s/,
    ],
    [
      'a duration out of a range',
      '[limits]\nrange = "2d"',
      /^app\.toml:2: limits\.range: is out of range; allowed is 1s to 1d/,
    ],
    ['text that is no TOML', '[listen]\nport = = 1', /^app\.toml:2:\d+: /],
  ])('with %s is refused with file and line', (_, toml, message) => {
    expect(fault([], { toml })).toMatch(message);
  });

  test('names the flag or the variable that is wrong', () => {
    expect(fault(['--listen-port', 'x'])).toMatch(/^--listen-port: listen\.port: /);
    expect(fault([], { env: { APP_LISTEN_PORT: '-1' } })).toMatch(/^APP_LISTEN_PORT: listen\.port: /);
    expect(fault([], { env: { APP_LISTEN_PROT: '1' } })).toBe(
      'APP_LISTEN_PROT is not known; did you mean APP_LISTEN_PORT?',
    );
  });

  test('is printed as a file, with origins and without secrets', () => {
    const request = read(['--print-config', '--listen-port', '7'], { env: { APP_POSTGRES_URL: 'postgres://u:p@h/d' } });
    if (request.kind !== 'print') throw new Error('it runs');
    expect(request.text).toContain('# TCP port.\nport = 7 # --listen-port\n');
    expect(request.text).toContain('wait = "30s" # default\n');
    expect(request.text).toContain('# url = (secret, from APP_POSTGRES_URL)');
    expect(request.text).not.toContain('postgres://');
    expect(value([], { toml: request.text }).listen.port).toBe(7);
  });

  test('says that a file is not there', () => {
    expect(() => read(['--config', 'none.toml'])).toThrow(/^none\.toml: there is no such file$/);
  });
});

describe('a table whose keys the app does not know', () => {
  const toml = '[listen]\nport = 1\n\n[parts."@acme/x"]\ntoken = "t"\n';

  test('is passed on as it stands in the file, and as JSON elsewhere', () => {
    expect(value([], { toml }).parts).toEqual({ '@acme/x': { token: 't' } });
    expect(value(['--parts', '{"a":{"b":1}}'], { toml }).parts).toEqual({ a: { b: 1 } });
    expect(value([], { env: { APP_PARTS: '{"a":{"b":2}}' } }).parts).toEqual({ a: { b: 2 } });
    expect(fault(['--parts', '{"a"'])).toMatch(/--parts: parts: .*expected record/);
  });

  test('is printed by the names in it, with its origin', () => {
    const printed = read(['--print-config'], { toml });
    expect(printed).toMatchObject({ kind: 'print' });
    expect(printed.kind === 'print' && printed.text).toContain('# parts = (of @acme/x, from app.toml:4)');
    expect(printed.kind === 'print' && printed.text).not.toContain('"t"');
  });
});
