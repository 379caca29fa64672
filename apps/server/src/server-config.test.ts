import { loadAppConfig } from '@drover/app-config';
import { expect, test } from 'vitest';
import { serverConfig } from './server-config.ts';

const load = (env: Record<string, string> = {}, flags: Record<string, string> = {}) =>
  loadAppConfig(serverConfig, { env, flags, cwd: '/' }).value;

test('a server that is told nothing listens on loopback and brings its own Postgres', () => {
  const config = load();
  expect(config).toMatchObject({ listen: { host: '127.0.0.1', port: 7613 }, state: { dir: '.drover/server' } });
  expect(config.postgres.url).toBeUndefined();
  expect(config.access.token).toBeUndefined();
});

test('DATABASE_URL names the Postgres, and the variable of its own goes first', () => {
  expect(load({ DATABASE_URL: 'postgres://a/a' }).postgres.url).toBe('postgres://a/a');
  const both = { DATABASE_URL: 'postgres://a/a', DROVER_SERVER_POSTGRES_URL: 'postgres://b/b' };
  expect(load(both).postgres.url).toBe('postgres://b/b');
});

test('durations and sizes are written with their units', () => {
  const config = load({}, { 'sessions.timeout': '90s', 'content.size_max': '2gb' });
  expect(config.sessions.timeout).toBe(90_000);
  expect(config.content.size_max).toBe(2 * 2 ** 30);
});
