import { create } from '@bufbuild/protobuf';
import { createClient, createRouterTransport, type Client } from '@connectrpc/connect';
import { createMemoryContentStore } from '@drover/content-store';
import {
  HerdService,
  JobEnd,
  RunJobRequestSchema,
  type RunJobRequest,
  type RunJobResponse,
} from '@drover/herd-protocol';
import type { Principal } from '@drover/lease-kit';
import { createResourceLedger } from '@drover/resource-ledger';
import { errorInterceptor } from '@drover/rpc-errors';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createHerdJobRunner, type HerdJobHost } from './create-herd-job-runner.ts';
import { registerHerdService } from './register-herd-service.ts';

type Request = NonNullable<Parameters<typeof create<typeof RunJobRequestSchema>>[1]>['message'];

let dir: string;
let runner: HerdJobHost;
beforeEach(async () => {
  dir = mkdtempSync(join(tmpdir(), 'herd-rpc-'));
  const deps = {
    content: createMemoryContentStore({ sizeBytesMax: 1e6 }),
    ledger: createResourceLedger({ total: { cores: 2 }, leasesMax: 2 }),
  };
  runner = await createHerdJobRunner({ stateDir: dir, slots: 1, cancelGraceMs: 0 }, deps);
});
afterEach(async () => {
  await runner[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

function clientOf(id: string): Client<typeof HerdService> {
  const principal: Principal = { kind: 'user', id };
  const agent = { agentId: 'agent-1', name: 'box', version: '1.2.3' };
  const transport = createRouterTransport(
    (router) => registerHerdService(router, { runner, agent, principalOf: () => principal, streamsPerPrincipalMax: 2 }),
    { router: { interceptors: [errorInterceptor({})] } },
  );
  return createClient(HerdService, transport);
}

/** Requests that are sent one by one. */
function outbox(...first: Request[]) {
  const queue: (Request | undefined)[] = [...first];
  let wake = (): void => undefined;
  async function* requests(): AsyncGenerator<RunJobRequest> {
    for (;;) {
      while (queue.length === 0) await new Promise<void>((resolve) => (wake = resolve));
      const message = queue.shift();
      if (message === undefined) return;
      yield create(RunJobRequestSchema, { message });
    }
  }
  const send = (message: Request): void => {
    queue.push(message);
    wake();
  };
  return { requests: requests(), send };
}

test('a job goes over a stream that breaks, and is nobody else’s', async () => {
  const ada = clientOf('ada');
  const eve = clientOf('eve');
  expect(await ada.getAgent({})).toMatchObject({
    agentId: 'agent-1',
    name: 'box',
    version: '1.2.3',
    slotsTotal: 1,
    slotsFree: 1,
  });
  const jobId = randomUUID();
  const first = outbox({ case: 'begin', value: { jobId, name: 'n' } });
  const broken = new AbortController();
  let last = 0n;
  for await (const { sequence, message } of ada.runJob(first.requests, { signal: broken.signal })) {
    last = sequence;
    if (message.case === 'credits') {
      first.send({ case: 'add', value: { tasks: [{ name: 'a', exe: 'sh', arguments: ['-c', 'exec sleep 60'] }] } });
    }
    if (message.case === 'started') break;
  }
  broken.abort();

  expect(await eve.listJobs({})).toMatchObject({ jobs: [] });
  expect(await ada.listJobs({})).toMatchObject({ jobs: [{ jobId, name: 'n', client: 'ada', tasksRunning: 1 }] });
  await expect(eve.cancelJob({ jobId })).rejects.toThrow(/no job/);
  const stolen = outbox({ case: 'resume', value: { jobId, afterSequence: 0n } });
  await expect(collect(eve.runJob(stolen.requests))).rejects.toThrow(/no job/);

  const again = outbox({ case: 'resume', value: { jobId, afterSequence: last } });
  const rest = collect(ada.runJob(again.requests));
  await ada.cancelJob({ jobId });
  const responses = await rest;
  expect(responses[0]!.sequence).toBe(last + 1n);
  expect(responses.at(-1)!.message).toMatchObject({ case: 'jobEnded', value: { end: JobEnd.CANCELLED } });
});

test('what is wrong with a request ends its stream with the error, and the job can be resumed', async () => {
  const ada = clientOf('ada');
  await expect(collect(ada.runJob(outbox({ case: 'finish', value: {} }).requests))).rejects.toThrow(/begin or resume/);
  await expect(collect(ada.runJob(outbox(undefined).requests))).rejects.toThrow(/begin or resume/);
  const jobId = randomUUID();
  const wrong = outbox(
    { case: 'begin', value: { jobId } },
    { case: 'add', value: { tasks: [{ name: '', exe: 'x' }] } },
  );
  await expect(collect(ada.runJob(wrong.requests))).rejects.toThrow(/name of the task/);
  const again = outbox({ case: 'resume', value: { jobId, afterSequence: 0n } }, { case: 'finish', value: {} });
  expect((await collect(ada.runJob(again.requests))).at(-1)!.message.case).toBe('jobEnded');
});

test('streams of one client are bounded', async () => {
  const ada = clientOf('ada');
  const open = [1, 2].map(() => ada.runJob(outbox({ case: 'begin', value: { jobId: randomUUID() } }).requests));
  const iterators = open.map((stream) => stream[Symbol.asyncIterator]());
  for (const iterator of iterators) await iterator.next();
  const third = ada.runJob(outbox({ case: 'begin', value: { jobId: randomUUID() } }).requests);
  await expect(collect(third)).rejects.toThrow(/2 job streams/);
  for (const { jobId } of runner.jobs()) await ada.cancelJob({ jobId });
  for (const iterator of iterators) while ((await iterator.next()).done !== true);
});

async function collect(responses: AsyncIterable<RunJobResponse>): Promise<RunJobResponse[]> {
  const all: RunJobResponse[] = [];
  for await (const response of responses) all.push(response);
  return all;
}
