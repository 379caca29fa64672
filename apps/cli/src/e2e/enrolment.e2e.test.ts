import type { AgentReady } from '@drover/agent';
import type { ServerListening } from '@drover/server';
import { testCertificates } from '@drover/rpc-host/testing';
import { writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { TestFleet } from './test-fleet.fixture.ts';

const adminToken = 'bootstrap-token-of-the-test';

test('over TLS with client certificates, agents enrol with a token or by approval, run jobs, and leave when revoked', async () => {
  await using fleet = await TestFleet.create();
  const file = (name: string, pem: string): string => {
    writeFileSync(fleet.path(name), pem, { mode: 0o600 });
    return fleet.path(name);
  };
  const { ca, server, agent1, agent2 } = testCertificates;
  const caFile = file('ca.pem', ca);
  const certificates = {
    server: [file('server.pem', server.cert), file('server.key', server.key)],
    'agent-1': [file('agent1.pem', agent1.cert), file('agent1.key', agent1.key)],
    'agent-2': [file('agent2.pem', agent2.cert), file('agent2.key', agent2.key)],
  } as const;
  const [cert, key] = certificates.server;
  const serving = fleet.start(
    [
      ...['server', '--listen-port=0', `--state-dir=${fleet.path('server')}`, '--enrolment-required'],
      ...[`--listen-tls-cert=${cert}`, `--listen-tls-key=${key}`, `--listen-client-ca=${caFile}`],
      ...['--listen-client-certificates=optional', '--sessions-heartbeat=500ms', '--enrolment-credential-lifetime=3s'],
    ],
    { env: { DATABASE_URL: fleet.databaseUrl, DROVER_SERVER_ACCESS_TOKEN: adminToken } },
  );
  const { url } = await serving.message<ServerListening>('listening');
  expect(url).toMatch(/^https:/);
  const drover = (...args: string[]) =>
    fleet.start(args, { env: { DROVER_SERVER: url, DROVER_CA: caFile, DROVER_TOKEN: adminToken } }).exited;
  const agent = (id: string, shown: keyof typeof certificates, env: Record<string, string> = {}) =>
    fleet.start(
      [
        ...['agent', `--server-urls=${url}`, `--server-tls-ca=${caFile}`, `--state-dir=${fleet.path(id)}`],
        ...[`--agent-id=${id}`, '--resources-cores=1'],
        ...[`--server-tls-cert=${certificates[shown][0]}`, `--server-tls-key=${certificates[shown][1]}`],
      ],
      { env },
    );

  const made = await drover('enrolment-tokens', 'create', '--reusable', '--pool', 'render');
  expect(made, made.stderr).toMatchObject({ code: 0 });
  const token = { DROVER_AGENT_SERVER_ENROLMENT_TOKEN: made.stdout.trim() };
  const enrolled = agent('agent-1', 'agent-1', token);
  const wrong = agent('agent-3', 'agent-2', token);
  const waiting = agent('agent-2', 'agent-2');
  await enrolled.message<AgentReady>('ready');
  const refused = await wrong.exited;
  expect(refused).toMatchObject({ code: 5, stderr: expect.stringContaining('CERTIFICATE_MISMATCH') });
  await waiting.line(/waiting for approval/);
  const approved = await drover('agents', 'approve', '--all');
  expect(approved.stdout).toBe('agent agent-2 is enrolled\n');
  await waiting.message<AgentReady>('ready');

  // In the pool of its token, though it did not ask for it.
  const job = fleet.jobFile('small', { requires: { pool: 'render' }, steps: { s: 'echo done' } });
  const ran = await drover('job', 'run', job);
  expect(ran, ran.stderr).toMatchObject({ code: 0 });

  const shown = await drover('agents', 'enrolment', 'agent-1');
  expect(shown.stdout).toMatch(
    /state +ready\nenrolled +\S+, with token \S+\ngeneration +1\nkey +[\w-]{43}\ncredential/,
  );
  expect(await drover('agents', 'revoke', 'agent-1')).toMatchObject({ code: 0 });
  const ended = await enrolled.exited;
  expect(ended).toMatchObject({ code: 5, stderr: expect.stringContaining('AGENT_REVOKED') });
  const again = await agent('agent-1', 'agent-1', token).exited;
  expect(again).toMatchObject({ code: 5, stderr: expect.stringContaining('AGENT_REVOKED') });

  // Cleartext is no way in, and nobody sends a token there by mistake.
  const open = await drover('agents', '--server', 'http://192.0.2.1:7613');
  expect(open).toMatchObject({ code: 2, stderr: expect.stringContaining('without TLS') });
});
