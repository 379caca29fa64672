import { startTestIssuer, type TestIssuer } from '@drover/identity-oidc/testing';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestFleet, type ServerProcess } from './test-fleet.fixture.ts';

const bootstrap = 'the-first-administrator';
let fleet: TestFleet;
let issuer: TestIssuer;
let servers: readonly [ServerProcess, ServerProcess];

beforeAll(async () => {
  fleet = await TestFleet.create();
  issuer = await startTestIssuer();
  const flags = [
    ...['--access-token', bootstrap, '--access-oidc-issuer', issuer.issuer, '--access-oidc-client-id', 'drover-cli'],
    ...['--access-oidc-audience', 'drover', '--access-oidc-roles', 'devs=submitter', '--access-oidc-pools', 'devs=gpu'],
  ];
  servers = [await fleet.server({ flags }), await fleet.server({ flags })];
});
afterAll(async () => {
  await fleet.dispose();
  await issuer[Symbol.asyncDispose]();
});

function run(args: readonly string[], token?: string, server = servers[0]) {
  const env = {
    DROVER_SERVER: server.url,
    DROVER_CREDENTIALS: fleet.path('credentials.json'),
    ...(token === undefined ? {} : { DROVER_TOKEN: token }),
  };
  return fleet.start(args, { env });
}

async function tokenOf(...flags: readonly string[]): Promise<{ id: string; secret: string }> {
  const made = await run(['tokens', 'create', '--json', ...flags], bootstrap).exited;
  expect(made, made.stderr).toMatchObject({ code: 0 });
  const { token, secret } = JSON.parse(made.stdout) as { token: { tokenId: string }; secret: string };
  return { id: token.tokenId, secret };
}

test('a token does what its role and its pools allow, until another server revokes it: then what it has open ends', async () => {
  const { id, secret } = await tokenOf(
    '--user',
    'ci',
    '--role',
    'submitter',
    '--pool',
    'gpu',
    '--comment',
    'the build',
  );
  expect(await run(['whoami'], secret).exited).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^user ci: submitter, only in the pools gpu \(token .{8}, for 89d\)\n$/),
  });
  const steps = { s: 'true' };
  const submit = (file: string) => run(['job', 'submit', file], secret).exited;
  expect(await submit(fleet.jobFile('elsewhere', { steps }))).toMatchObject({
    code: 5,
    stderr: expect.stringMatching(/POOL_OUT_OF_SCOPE/),
  });
  const submitted = await submit(fleet.jobFile('here', { steps, requires: { pool: 'gpu' } }));
  expect(submitted, submitted.stderr).toMatchObject({ code: 0 });
  expect(await run(['tokens', 'list'], secret).exited).toMatchObject({
    code: 5,
    stderr: expect.stringMatching(/needs the role admin.*ROLE_MISSING/),
  });

  const following = run(['job', 'logs', '-f', submitted.stdout.trim()], secret);

  const revoked = await run(['tokens', 'revoke', id.slice(0, 8)], bootstrap, servers[1]).exited;
  expect(revoked, revoked.stderr).toMatchObject({ code: 0, stdout: `revoked token ${id.slice(0, 8)} of ci\n` });
  expect(await following.exited).toMatchObject({ code: 5, stderr: expect.stringMatching(/TOKEN_REVOKED/) });
  expect(await run(['whoami'], secret).exited).toMatchObject({
    code: 5,
    stderr: expect.stringMatching(/TOKEN_REVOKED/),
  });
});

test('a person signs in with a browser, is known from then on, and signs out', async () => {
  const file = fleet.path('credentials.json');
  issuer.signsIn({ sub: 'ada', roles: ['devs'] });
  const login = run(['login']);
  const [, code = ''] = /confirm the code (\S+)/.exec(await login.line(/confirm the code/)) ?? [];
  issuer.approve(code);
  expect(await login.exited).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(
      /^signed in to http\S+ as user ada: submitter, only in the pools gpu \(OpenID Connect/,
    ),
  });
  expect(statSync(file).mode & 0o777).toBe(0o600);

  // One that is about to end is made anew, and the new one kept.
  const kept = JSON.parse(readFileSync(file, 'utf8')) as Record<string, { expiresAtMs: number; token: string }>;
  const origin = Object.keys(kept)[0]!;
  writeFileSync(file, JSON.stringify({ [origin]: { ...kept[origin], expiresAtMs: Date.now(), token: 'a.b.c' } }));
  expect(await run(['whoami']).exited).toMatchObject({
    code: 0,
    stdout: expect.stringMatching(/^user ada: submitter/),
  });
  expect(readFileSync(file, 'utf8')).not.toContain('a.b.c');

  chmodSync(file, 0o644);
  expect(await run(['whoami']).exited).toMatchObject({ code: 3, stderr: expect.stringMatching(/CREDENTIALS_EXPOSED/) });
  chmodSync(file, 0o600);
  expect(await run(['logout']).exited).toMatchObject({ code: 0, stdout: expect.stringMatching(/^signed out of/) });
  expect(await run(['whoami']).exited).toMatchObject({
    code: 5,
    stderr: expect.stringMatching(/drover login.*UNAUTHENTICATED/),
  });
});

test('the audit tells what was changed, by whom and from where', async () => {
  const audit = await run(['audit', '--what', 'token', '--json'], bootstrap).exited;
  const { entries } = JSON.parse(audit.stdout) as { entries: { who: string; action: string; address: string }[] };
  expect(entries.map(({ who, action, address }) => [who, action, address])).toEqual([
    ['user:bootstrap', 'token.revoke', '127.0.0.1'],
    ['user:bootstrap', 'token.create', '127.0.0.1'],
  ]);
  const table = await run(['audit', '--since', '1h', '--who', 'ci'], bootstrap).exited;
  expect(table.stdout).toMatch(/user:ci +127\.0\.0\.1 \(token .{8}\) +job\.submit +job:\S+ +name here/);
  expect(await run(['audit', '--since', 'yesterday'], bootstrap).exited).toMatchObject({ code: 2 });
});
