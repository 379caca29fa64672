import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { HerdClients } from '@drover/herd-pairing/agent';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DroverProcess, type EndedProcess } from './drover-process.fixture.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-pairing-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

test(
  'a client is let in by a code, has a job run by an agent without servers, and is sent away',
  { timeout: 60_000 },
  async () => {
    const stateDir = join(dir, 'agent');
    const env = { DROVER_HERD_DIR: join(dir, 'trust') };
    const drover = async (...args: string[]): Promise<EndedProcess> => {
      await using command = new DroverProcess(args, { env });
      return await command.exited;
    };
    const flags = ['--herd-enabled', '--herd-host', '127.0.0.1', '--herd-port', '0', '--state-dir', stateDir];
    await using agent = new DroverProcess(['agent', ...flags]);
    await agent.message('ready');
    const port = /:(\d+)","slots"/.exec(await agent.line(/the herd is open/))?.[1] ?? '';
    const job = join(dir, 'job.yaml');
    writeFileSync(job, 'name: hello\ntasks:\n  - name: one\n    exe: /bin/true\n');
    const run = ['herd', 'run', job, '--no-lan', '--agent', `127.0.0.1:${port}`, '--port', port, '--all'];

    const [opened, stranger] = await Promise.all([drover('herd', 'code', '--state-dir', stateDir), drover(...run)]);
    expect(opened).toMatchObject({ code: 0, stderr: expect.stringContaining(`:${port} --code `) });
    expect(stranger.code, stranger.stderr).not.toBe(0);
    const paired = await drover('herd', 'pair', `127.0.0.1:${port}`, '--code', opened.stdout.trim());
    expect(paired, paired.stderr).toMatchObject({ code: 0, stdout: expect.stringContaining('paired with ') });
    const ran = await drover(...run);
    expect(ran, ran.stderr + agent.stderr).toMatchObject({ code: 0 });

    const clientId = /"client":"(\w+)"/.exec(await agent.line(/herd\.client-paired/))?.[1] ?? '';
    new HerdClients(join(stateDir, 'herd')).revoke(clientId);
    await agent.line(/herd\.client-revoked/);
    const refused = await drover(...run);
    expect(refused.code).not.toBe(0);
    expect(refused.stdout + refused.stderr).toContain('has revoked client');

    agent.signal('SIGTERM');
    expect(await agent.exited).toMatchObject({ code: 0 });
    for (const event of ['client-paired', 'job-begun', 'client-revoked', 'call-refused']) {
      expect(agent.stderr).toMatch(new RegExp(`"security":true,"event":"herd\\.${event}"`));
    }
  },
);
