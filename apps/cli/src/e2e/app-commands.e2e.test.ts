import { writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loopbackCert, loopbackKey } from './loopback-certificate.fixture.ts';
import { TestFleet, until, type ServerProcess } from './test-fleet.fixture.ts';

let fleet: TestFleet;
let server: ServerProcess;

beforeAll(async () => {
  fleet = await TestFleet.create();
  server = await fleet.server({ flags: ['--access-token', 'open-sesame-please'] });
});
afterAll(() => fleet.dispose());

describe('configuration', () => {
  test('comes from a file, the environment and flags, in this order, and is printed with its origins', async () => {
    const file = fleet.path('drover.toml');
    writeFileSync(file, '[listen]\nport = 1\nhost = "127.0.0.2"\n[stop]\ngrace = "3s"\n');
    const env = {
      DROVER_SERVER_LISTEN_PORT: '2',
      DROVER_SERVER_STOP_GRACE: '4s',
      DATABASE_URL: 'postgres://u:hidden@h/d',
    };
    const printed = await fleet.start(['server', '-c', file, '--stop-grace', '5s', '--print-config'], { env }).exited;
    expect(printed).toMatchObject({ code: 0, stderr: '' });
    expect(printed.stdout).toMatch(/host = "127\.0\.0\.2" +# .*drover\.toml:3/);
    expect(printed.stdout).toMatch(/port = 2 +# .*DROVER_SERVER_LISTEN_PORT/);
    expect(printed.stdout).toMatch(/grace = "5s" +# .*--stop-grace/);
    expect(printed.stdout).toMatch(/url = \(secret, from DATABASE_URL\)/);
    expect(printed.stdout).not.toContain('hidden');
  });

  test('that is wrong is named with its place and what is allowed, and ends with 3', async () => {
    const file = fleet.path('wrong.toml');
    writeFileSync(file, '[listen]\nprot = 1\n[log]\nlevel = "loud"\n');
    const checked = await fleet.drover('server', '-c', file, '--check-config');
    expect(checked).toMatchObject({ code: 3, stdout: '' });
    expect(checked.stderr).toMatch(/wrong\.toml:2: listen\.prot is not known; did you mean listen\.port\?/);
    expect(checked.stderr).toMatch(/wrong\.toml:4: log\.level: .*debug.*info.*warn.*error/);
    expect(checked.stderr).toContain('(CONFIG_INVALID)');
    expect(await fleet.drover('agent', '--check-config')).toMatchObject({ code: 0, stdout: /configuration is right/ });
  });
});

describe('what a server cannot start with', () => {
  test.each([
    ['a port that is taken', () => [`--listen-port=${server.port}`, '--access-development'], 4, /ADDRESS_IN_USE/],
    ['a database that is not there', () => ['--postgres-url', 'postgres://x@127.0.0.1:1/x'], 4, /STORE_UNAVAILABLE/],
    [
      'others who reach it in development mode',
      () => ['--access-development', '--listen-host', '0.0.0.0'],
      3,
      /access\.token.*ACCESS_OPEN/,
    ],
    ['nobody who could call it', () => [], 3, /access\.token.*--access-development.*ACCESS_MISSING/],
    ['a token that can be guessed', () => ['--access-token', 'short'], 3, /access\.token.*16/],
  ])('is %s, which it says', async (_, flags, code, message) => {
    const args = ['server', '--listen-port=0', '--state-dir', fleet.path('other'), ...flags()];
    const ended = await fleet.start(args, { env: { DATABASE_URL: fleet.databaseUrl } }).exited;
    expect(ended).toMatchObject({ code, stderr: expect.stringMatching(message) });
  });
});

describe('a server with a token', () => {
  test('asks everybody for it', async () => {
    const file = fleet.jobFile('denied', { steps: { s: 'true' } });
    const denied = await fleet.drover('job', 'run', file, '--server', server.url);
    expect(denied).toMatchObject({ code: 5, stdout: '', stderr: expect.stringMatching(/\(UNAUTHENTICATED\)/) });
    const wrong = await fleet.drover('agents', '--server', server.url, '--token', 'guess');
    expect(wrong).toMatchObject({ code: 5, stderr: expect.stringMatching(/not known here.*\(PRINCIPAL_UNKNOWN\)/) });
    const stranger = fleet.startAgent(server, { id: 'stranger' });
    await stranger.process.line(/UNAUTHENTICATED/);
    await stranger.process[Symbol.asyncDispose]();
  });

  test('serves those who show it: commands, agents and their blobs', async () => {
    await fleet.agent(server, { flags: ['--server-token', 'open-sesame-please'] });
    writeFileSync(fleet.path('in.txt'), 'sent\n');
    const file = fleet.jobFile('allowed', {
      inputs: [{ path: 'in.txt', upload: 'in.txt' }],
      steps: { s: 'cp in.txt out.txt' },
      outputs: ['out.txt'],
    });
    const env = { DROVER_TOKEN: 'open-sesame-please', DROVER_SERVER: server.url };
    const ran = await fleet.start(['job', 'run', file], { env }).exited;
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
  });
});

test('an agent answers for its health, and its state folder is its own', async () => {
  const free = await fleet.agent(server, {
    id: 'healthy',
    flags: ['--server-token', 'open-sesame-please', '--health-port', '0'],
  });
  const line = await free.process.line(/the agent is running/);
  const { health } = JSON.parse(line) as { readonly health: string };
  expect((await fetch(`${health}/healthz`)).status).toBe(200);
  await until(async () => expect((await fetch(`${health}/readyz`)).status).toBe(200));
  const second = await fleet.startAgent(server, { id: 'healthy' }).process.exited;
  expect(second.stderr).toMatch(/belongs to the process \d+, which runs \(PROCESS_STATE_DIR_IN_USE\)/);
  expect(second.code).toBe(4);
  free.process.signal('SIGTERM');
  expect(await free.process.exited).toMatchObject({ code: 0 });
});

test('TLS: a server with a certificate, an agent and a command that know its authority', async () => {
  const [key, cert] = [fleet.path('key.pem'), fleet.path('cert.pem')];
  writeFileSync(key, loopbackKey);
  writeFileSync(cert, loopbackCert);
  const secure = await fleet.server({ flags: ['--listen-tls-cert', cert, '--listen-tls-key', key] });
  expect(secure.url).toMatch(/^https:/);
  await fleet.agent(secure, { id: 'secure', flags: ['--server-tls-ca', cert, '--server-enrol=false'] });
  const file = fleet.jobFile('secure', { steps: { s: 'echo safe > out.txt' }, outputs: ['out.txt'] });
  const ran = await fleet.drover('job', 'run', file, '--server', secure.url, '--ca', cert);
  expect(ran, ran.stderr).toMatchObject({ code: 0 });
  const distrusting = await fleet.drover('job', 'list', '--server', secure.url);
  expect(distrusting).toMatchObject({ code: 5, stderr: expect.stringMatching(/--ca or DROVER_CA.*SERVER_UNTRUSTED/) });
});
