import { JobState } from '@drover/control-api';
import { Outcome } from '@drover/lease-protocol';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { batchResultOf } from '../output/job-view.ts';
import { TestFleet, jobEnded, logOf, until } from './test-fleet.fixture.ts';

const batchCount = 32;

/** Mounts a file system of 8 MiB on a folder; false where that is not allowed. */
function mountSmall(directory: string): boolean {
  mkdirSync(directory, { recursive: true });
  return spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'drover-test', directory]).status === 0;
}

function unmount(directory: string): void {
  spawnSync('umount', ['-l', directory]);
}

test('a full disk under an agent stops it from taking work and loses nothing [limits:needs-tmpfs]', async (context) => {
  await using fleet = await TestFleet.create();
  const small = fleet.path('agent-1');
  if (!mountSmall(small)) context.skip();
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => unmount(small));
  const server = await fleet.server();
  const { process } = await fleet.agent(server, {
    flags: [`--resources-cores=${batchCount}`, '--disk-free-min=0b'],
  });
  cleanup.defer(() => process[Symbol.asyncDispose]());

  // So many that their ends do not fit into what is left of the journal's last block.
  const batches = Array.from({ length: batchCount }, (_, i) => ({
    steps: { s: `echo started >> ${fleet.path(`starts-${i}`)}; ${fleet.waitFor('full')}` },
  }));
  const running = await fleet.submit(server, fleet.jobFile('running', ...batches));
  for (const i of batches.keys()) await fleet.made(`starts-${i}`);
  const filler = join(small, 'filler');
  await using glutton = fill(filler);
  fleet.open('full');
  // What cannot be journalled is not told.
  await process.line(/the journal cannot be written/);
  await until(async () => {
    const agents = await fleet.drover('agents', '--server', server.url);
    expect(agents.stdout).toMatch(/^agent-1 +unhealthy: JOURNAL_FAILED /m);
  });
  const waiting = await fleet.submit(server, fleet.jobFile('waiting', { steps: { s: 'echo later' } }));
  const why = await fleet.drover('why', waiting, '--server', server.url);
  expect(why.stdout).toMatch(/agent-1 .*\(UNHEALTHY\)$/m);

  await glutton[Symbol.asyncDispose]();
  rmSync(filler);
  await process.line(/the journal can be written again/);
  const [first, second] = [await jobEnded(server, running), await jobEnded(server, waiting)];
  for (const [i, lease] of first.leases.entries()) {
    expect(lease.attempts).toMatchObject([{ attempt: 1, outcome: Outcome.COMPLETED }]);
    expect(readFileSync(fleet.path(`starts-${i}`), 'utf8')).toBe('started\n');
    // A step whose log has no room is ended, and that is what it says.
    const [step] = batchResultOf(lease)!.steps;
    if (!lease.succeeded) expect(step!.reason).toMatchObject({ code: expect.stringMatching(/SPOOL/) });
  }
  expect(second.state).toBe(JobState.SUCCEEDED);
  expect(await logOf(server, waiting, 's')).toBe('later\n');
});

test('a full disk under the content store is said to the uploader, and nothing half-written is kept [limits:needs-tmpfs]', async (context) => {
  await using fleet = await TestFleet.create();
  const small = fleet.path('content');
  if (!mountSmall(small)) context.skip();
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => unmount(small));
  const server = await fleet.server({ flags: ['--content-dir', small] });
  await fleet.agent(server);
  writeFileSync(fleet.path('big'), Buffer.alloc(12 * 1024 * 1024, 'x'));
  const file = fleet.jobFile('big', { steps: { s: 'true' }, inputs: [{ path: 'big', upload: 'big' }] });
  const { code, stderr } = await fleet.drover('job', 'run', file, '--server', server.url);
  expect(stderr).toMatch(/big\.yaml:\d+:\d+: input "big": no room for 12582912 bytes.*\(CONTENT_STORE_FULL\)/);
  expect(code).toBe(4);

  const output = fleet.jobFile('output', { steps: { s: 'head -c 12582912 /dev/urandom > big' }, outputs: ['big'] });
  const ran = await fleet.drover('job', 'run', output, '--server', server.url);
  expect(ran.stdout).toMatch(/✗ CONTENT_STORE_FULL: big: no room for 12582912 bytes/);
  expect(ran.code).toBe(1);
});

/** Takes all the room that there is, and all that becomes free, until it is ended. */
function fill(file: string): AsyncDisposable {
  const loop = `while :; do cat /dev/zero >> ${file} 2>/dev/null; sleep 0.005; done`;
  const child = spawn('/bin/sh', ['-c', loop], { stdio: 'ignore' });
  const ended = once(child, 'exit');
  return {
    async [Symbol.asyncDispose]() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}
