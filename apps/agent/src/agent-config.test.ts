import { loadAppConfig } from '@drover/app-config';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { agentConfig, serverUrlsOf } from './agent-config.ts';
import { freeMinFrom } from './free-min.ts';
import { machineOptions } from './machine-options.ts';
import { wantsEnrolment } from './server-connection.ts';

const load = (env: Record<string, string> = {}, flags: Record<string, string | readonly string[]> = {}) =>
  loadAppConfig(agentConfig, { env, flags, cwd: '/' }).value;

test('an agent that is told nothing asks the server of this machine', () => {
  expect(serverUrlsOf(load())).toEqual(['http://127.0.0.1:7613']);
  expect(load()).toMatchObject({
    herd: { enabled: false, port: 7614, discovery: true, allow_unpaired: [], certificate_lifetime: 86_400_000 },
    agent: { pools: [], properties: [], ephemeral: false, leases_max: 256 },
    state: { dir: '.drover/agent' },
    stop: { grace: 86_400_000 },
  });
  expect(load().health.port).toBeUndefined();
});

test('several servers are a list, by flag or with commas in the environment', () => {
  const urls = ['http://a:1', 'https://b:2'];
  expect(load({ DROVER_AGENT_SERVER_URLS: 'http://a:1, https://b:2' }).server.urls).toEqual(urls);
  expect(load({}, { 'server.urls': urls }).server.urls).toEqual(urls);
});

test('an agent of the herd has no server unless it is told one; an agent of neither is refused', () => {
  const herd = { 'herd.enabled': 'true' };
  expect(serverUrlsOf(load({}, herd))).toEqual([]);
  expect(serverUrlsOf(load({ DROVER_AGENT_SERVER_URLS: 'http://a:1' }, herd))).toEqual(['http://a:1']);
  expect(wantsEnrolment(load({}, herd))).toBe(false);
  const legacy = { 'herd.legacy.enabled': 'true', 'herd.legacy.networks': '10.1.0.0/16' };
  expect(serverUrlsOf(load({}, legacy))).toEqual([]);
  expect(() => serverUrlsOf(load({}, { 'server.urls': [] }))).toThrow('server.urls names no server');
});

test('file < environment < flag, for the herd as for the rest', () => {
  const dir = mkdtempSync(join(tmpdir(), 'drover-config-'));
  const file = join(dir, 'agent.toml');
  writeFileSync(file, '[herd]\nenabled = true\nport = 1\nslots = 2\nallow_unpaired = ["10.1.0.0/16"]\n');
  const env = { DROVER_AGENT_HERD_PORT: '3', DROVER_AGENT_HERD_SLOTS: '4' };
  const { herd } = loadAppConfig(agentConfig, { file, env, flags: { 'herd.slots': '5' }, cwd: '/' }).value;
  expect(herd).toMatchObject({ enabled: true, port: 3, slots: 5, allow_unpaired: ['10.1.0.0/16'] });
  rmSync(dir, { recursive: true });
});

test.each([
  ['server.urls', ['ftp://a'], /server\.urls.*is no URL; allowed is http\(s\):\/\/HOST:PORT/],
  ['herd.allow_unpaired', ['10.1.0.0/33'], /herd\.allow_unpaired.*"10\.1\.0\.0\/33" is no network; allowed is/],
  ['herd.slots', '0', /herd\.slots/],
  [
    'herd.legacy.enabled',
    'true',
    /herd\.legacy\.networks.*is empty, and herd\.legacy\.enabled is true; allowed is at least one/,
  ],
  ['herd.legacy.networks', ['lan'], /herd\.legacy\.networks.*"lan" is no network/],
  ['herd.code_lifetime', '2h', /herd\.code_lifetime: is out of range; allowed is 10s to 1h/],
  ['agent.id', 'two words', /agent\.id/],
  ['agent.properties', ['novalue'], /agent\.properties/],
  ['resources.ram', 'much', /resources\.ram/],
  ['resources.custom', ['Licence=2'], /resources\.custom.*lower-case/],
  ['resources.custom', ['licence=-1'], /resources\.custom/],
  ['facts.interval', 'often', /facts\.interval/],
  ['disk.free_min', '5', /disk\.free_min.*"1gb" or "5%"/],
  ['disk.free_min', '100%', /disk\.free_min/],
  ['busy.windows', ['mo 8-9'], /busy\.windows.*"mo 8-9" is no window of the week/],
  ['idle.load_max', '101', /idle\.load_max/],
])('%s = %j is refused by name', (key, value, message) => {
  expect(() => load({}, { [key]: value })).toThrow(message);
});

test('the machine is told about by properties and counted resources, each once', () => {
  const config = load(
    {},
    { 'agent.properties': ['rack=a7', 'tool=a=b', 'rack=b1'], 'resources.custom': ['licence=2'] },
  );
  expect(machineOptions(config)).toEqual({
    properties: { rack: ['a7', 'b1'], tool: ['a=b'] },
    resources: { licence: 2 },
  });
  const twice = load({}, { 'resources.custom': ['licence=2', 'licence=3'] });
  expect(() => machineOptions(twice)).toThrow(/licence stands twice/);
  const taken = load({}, { 'resources.custom': ['ram=2'] });
  expect(() => machineOptions(taken)).toThrow(/keys of their own/);
});

test.each([
  ['0b', { bytes: 0 }],
  ['1.5gb', { bytes: 1.5 * 2 ** 30 }],
  ['5%', { share: 0.05 }],
  ['2.5 %', { share: 0.025 }],
])('disk.free_min = %s', (text, wanted) => {
  expect(freeMinFrom(load({}, { 'disk.free_min': text }).disk.free_min)).toEqual(wanted);
});
