import { startTestIssuer, type TestIssuer } from '@drover/identity-oidc/testing';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { TestFleet, until, type ServerProcess } from './test-fleet.fixture.ts';

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
