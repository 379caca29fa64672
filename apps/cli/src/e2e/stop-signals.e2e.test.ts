import { AgentState, JobState } from '@drover/control-api';
import { Outcome } from '@drover/lease-protocol';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestFleet, jobEnded, jobOf, until, type ServerProcess } from './test-fleet.fixture.ts';

let fleet: TestFleet;
let server: ServerProcess;

beforeAll(async () => {
  fleet = await TestFleet.create();
  server = await fleet.server({ flags: ['--stop-grace=10min'] });
});
afterAll(() => fleet.dispose());

/** A job that runs until its gate is opened, on the one agent that there is. */
async function runningJob(name: string): Promise<string> {
  const steps = { s: `touch ${fleet.path(`${name}-runs`)}; ${fleet.waitFor(name)}` };
  const jobId = await fleet.submit(server, fleet.jobFile(name, { steps, retry: { attempts: 1 } }));
  await fleet.made(`${name}-runs`);
  return jobId;
}

describe('an agent', () => {
  test('that gets SIGTERM waits for its step, takes nothing new, and ends with 0', async () => {
    const { process } = await fleet.agent(server, { id: 'draining' });
    const running = await runningJob('finishes');
    process.signal('SIGTERM');
    await process.line(/draining; a second signal cancels what runs/);
    await until(async () => {
      const { agents } = await server.client.fleet.listAgents({});
      expect(agents).toMatchObject([{ agentId: 'draining', standing: { state: AgentState.STOPPING } }]);
    });
    const waiting = await fleet.submit(server, fleet.jobFile('waits', { steps: { s: 'true' } }));
    const why = await fleet.drover('why', waiting, '--server', server.url);
    expect(why.stdout).toMatch(/^ {2}draining {2}is going down \(STOPPING\)$/m);
    fleet.open('finishes');
    expect(await process.exited).toMatchObject({ code: 0, signal: null });
    expect(await jobEnded(server, running)).toMatchObject({ state: JobState.SUCCEEDED });
    expect(await jobOf(server, waiting)).toMatchObject({ state: JobState.WAITING, leases: [{ attempts: [] }] });
    await server.client.jobs.cancelJob({ jobId: waiting });
  });

  test.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('that gets %s twice ends its step, says so to the server, and ends with %i', async (signal, code) => {
    const { process } = await fleet.agent(server, { id: `impatient-${code}` });
    const running = await runningJob(`cut-${code}`);
    process.signal(signal);
    await process.line(/draining/);
    process.signal(signal);
    expect(await process.exited).toMatchObject({ code, signal: null });
    const job = await jobEnded(server, running);
    expect(job.state).toBe(JobState.FAILED);
    expect(job.leases[0]!.attempts).toMatchObject([
      { attempt: 1, outcome: Outcome.FAILED, reason: { code: 'BATCH_SHUTTING_DOWN' } },
    ]);
  });
});

test('a server that gets SIGTERM waits for open calls; a second one ends them; what runs goes on', async () => {
  const { process } = await fleet.agent(server, { id: 'left-alone' });
  const running = await runningJob('outlives');
  const follower = fleet.start(['job', 'logs', '-f', running, '--server', server.url]);
  await until(async () => expect((await fetch(`${server.url}/readyz`)).status).toBe(200));
  server.process.signal('SIGTERM');
  await server.process.line(/stopping; a second signal ends open calls at once/);
  server.process.signal('SIGTERM');
  expect(await server.process.exited).toMatchObject({ code: 0, signal: null });
  expect((await follower.exited).code).toBe(4);

  const next = await fleet.server({ port: server.port });
  fleet.open('outlives');
  expect(await jobEnded(next, running)).toMatchObject({ state: JobState.SUCCEEDED });
  expect((await jobOf(next, running)).leases[0]!.attempts).toHaveLength(1);
  process.signal('SIGTERM');
  expect(await process.exited).toMatchObject({ code: 0 });
});
