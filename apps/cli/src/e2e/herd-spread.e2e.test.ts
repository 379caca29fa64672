import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PairingTokens } from '@drover/herd-pairing/agent';
import { HerdTrust, pairWithAgent } from '@drover/herd-pairing/client';
import type { HerdJobResult } from '@drover/herd-service/client';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DroverProcess } from './drover-process.fixture.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'drover-spread-'));
});
afterEach(() => rmSync(dir, { recursive: true, maxRetries: 5 }));

test('tasks of an agent that is killed go to another, and no output is lost', { timeout: 60_000 }, async () => {
  const trust = new HerdTrust(join(dir, 'trust'));
  const startAgent = async (name: string) => {
    const stateDir = join(dir, name);
    const flags = ['--herd-enabled', '--herd-host', '127.0.0.1', '--herd-port', '0', '--state-dir', stateDir];
    const agent = new DroverProcess(['agent', ...flags, '--agent-name', name, '--herd-slots', '1']);
    await agent.message('ready');
    const port = Number(/:(\d+)","slots"/.exec(await agent.line(/the herd is open/))?.[1]);
    const { text: token } = new PairingTokens(join(stateDir, 'herd')).create({ note: 'test' });
    const address = { host: '127.0.0.1', port };
    await pairWithAgent({ address, secret: { token }, clientName: 'test' }, trust, AbortSignal.timeout(10_000));
    return { agent, port };
  };
  const [doomed, other] = await Promise.all([startAgent('doomed'), startAgent('other')]);
  await using _ = doomed.agent;
  await using __ = other.agent;
  const [started, out] = [join(dir, 'started'), join(dir, 'out')];
  mkdirSync(started);
  writeFileSync(join(dir, 'data.txt'), 'sent once\n');
  // A task says where it runs, waits for the word, and then does its work.
  const script = `pwd > ${started}/{n}; until [ -e ${dir}/go ]; do sleep 0.05; done; cat data.txt > out-{n}.txt`;
  writeFileSync(
    join(dir, 'job.yaml'),
    `name: spread
inputs: [data.txt]
tasks:
  - {name: "unit-{n}", repeat: 6, exe: /bin/sh, args: ["-c", "${script}"], outputs: ["out-{n}.txt"]}
`,
  );
  const hosts = [doomed, other].map(({ port }) => `127.0.0.1:${port}`);
  const run = ['herd', 'run', join(dir, 'job.yaml'), '--no-lan', '--on', ...hosts, '--into', out, '--json'];
  await using command = new DroverProcess(run, {
    env: { DROVER_HERD_DIR: join(dir, 'trust'), XDG_CACHE_HOME: join(dir, 'cache') },
  });
  const runsOn = (name: string): boolean =>
    readdirSync(started).some((file) => readFileSync(join(started, file), 'utf8').startsWith(join(dir, name)));
  await expect.poll(() => runsOn('doomed') && runsOn('other'), { timeout: 20_000 }).toBe(true);
  doomed.agent.signal('SIGKILL');
  await doomed.agent.exited;
  writeFileSync(join(dir, 'go'), '');

  const { code, stdout, stderr } = await command.exited;
  expect(code, stdout + stderr).toBe(0);
  const result = JSON.parse(stdout) as HerdJobResult;
  expect(result).toMatchObject({ outcome: 'succeeded', missing: [] });
  expect(result.tasks.some(({ mayHaveRunTwice }) => mayHaveRunTwice)).toBe(true);
  expect(result.tasks.every(({ agent }) => agent === 'other')).toBe(true);
  expect(result.agents).toMatchObject([
    { state: 'lost', code: 'AGENT_LOST', sentBytes: 10 },
    { state: 'done', sentBytes: 10 },
  ]);
  for (let n = 1; n <= 6; n++) expect(readFileSync(join(out, `out-${n}.txt`), 'utf8')).toBe('sent once\n');
});
