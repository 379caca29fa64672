import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DroverProcess, type EndedProcess } from './drover-process.fixture.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-pairing-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

test('a client is let in by a code, has a job run by an agent without servers, and is sent away', async () => {
  const stateDir = join(dir, 'agent');
  const env = { DROVER_HERD_DIR: join(dir, 'trust') };
  const drover = async (...args: string[]): Promise<EndedProcess> => {
    await using command = new DroverProcess(args, { env });
    return command.exited;
  };
  const flags = ['--herd-enabled', '--herd-host', '127.0.0.1', '--herd-port', '0', '--state-dir', stateDir];
  await using agent = new DroverProcess(['agent', ...flags]);
  await agent.message('ready');
  const port = /"url":"https:\/\/127\.0\.0\.1:(\d+)","slots"/.exec(agent.stdout)?.[1] ?? '';
  const job = join(dir, 'job.yaml');
  writeFileSync(job, 'name: hello\ntasks:\n  - name: one\n    exe: /bin/true\n');
  const run = ['herd', 'run', job, '--no-lan', '--agent', `127.0.0.1:${port}`, '--port', port, '--all'];

  const [opened, stranger] = await Promise.all([drover('herd', 'code', '--state-dir', stateDir), drover(...run)]);
  expect(opened).toMatchObject({ code: 0, stderr: expect.stringContaining(`:${port} --code `) });
  expect(stranger.code, stranger.stderr).not.toBe(0);
  const paired = await drover('herd', 'pair', `127.0.0.1:${port}`, '--code', opened.stdout.trim());
  expect(paired, paired.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('paired with ') });
  const ran = await drover(...run);
  expect(ran, ran.stderr + agent.stdout).toMatchObject({ code: 0 });

  const listed = await drover('herd', 'clients', '--json', '--state-dir', stateDir);
  const { clients } = JSON.parse(listed.stdout) as { clients: { clientId: string; state: string; by: string }[] };
  expect(clients).toMatchObject([{ state: 'paired', by: 'code' }]);
  expect(await drover('herd', 'revoke', clients[0]!.clientId, '--state-dir', stateDir)).toMatchObject({ code: 0 });
  const refused = await drover(...run);
  expect(refused.code).not.toBe(0);
  expect(refused.stdout + refused.stderr).toContain('has revoked client');

  agent.signal('SIGTERM');
  expect(await agent.exited).toMatchObject({ code: 0 });
  for (const event of ['client-paired', 'job-begun', 'client-revoked', 'call-refused']) {
    expect(agent.stdout).toMatch(new RegExp(`"security":true,"event":"herd\\.${event}"`));
  }
});
