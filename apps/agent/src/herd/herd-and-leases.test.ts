import { create } from '@bufbuild/protobuf';
import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import { createMemoryContentStore } from '@drover/content-store';
import { createHerdJobRunner } from '@drover/herd-service/agent';
import { createLeaseAgent } from '@drover/lease-agent';
import { MemoryLeaseServer } from '@drover/lease-agent/testing';
import { defineLeaseType, type LeaseHandler } from '@drover/lease-kit';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';

const signal = new AbortController().signal;

test('one count for leases and herd tasks: each waits for the other, and an exclusive lease for an empty machine', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'herd-leases-'));
  const server = new MemoryLeaseServer();
  const running = new Map<string, () => void>();
  const handler: LeaseHandler<typeof StringValueSchema, typeof StringValueSchema> = {
    type: defineLeaseType({ name: 'hold', payload: StringValueSchema, output: StringValueSchema }),
    run: ({ value }) =>
      new Promise((resolve) =>
        running.set(value, () => resolve({ kind: 'completed', output: create(StringValueSchema, { value }) })),
      ),
  };
  const agent = createLeaseAgent(
    { stateDir: join(dir, 'leases'), agentId: 'agent-1', leasesMax: 4, resources: { cores: 2 } },
    { client: server.client(), handlers: [handler as unknown as LeaseHandler] },
  );
  const runner = await createHerdJobRunner(
    { stateDir: join(dir, 'herd'), slots: 2 },
    { ledger: agent.ledger, content: createMemoryContentStore({ sizeBytesMax: 1e6 }) },
  );
  try {
    await agent.start();
    const offer = (value: string, options: Parameters<typeof server.offer>[2]) =>
      server.offer(StringValueSchema, create(StringValueSchema, { value }), options);
    offer('a', { resources: { cores: 1 } });
    await vi.waitFor(() => expect(running.has('a')).toBe(true));
    expect(runner.standing().slotsFree).toBe(1);

    const session = await runner.begin({ jobId: 'job' }, { principal: { kind: 'user', id: 'ada' }, signal });
    const started: string[] = [];
    const ended: string[] = [];
    const script = `while [ ! -e "$0" ]; do sleep 0.01; done`;
    const tasks = ['one', 'two', 'three'].map((name) => ({
      name,
      exe: 'sh',
      arguments: ['-c', script, join(dir, name)],
    }));
    const reading = (async () => {
      for await (const { message } of session.responses(0n, signal)) {
        if (message.case === 'credits') session.add({ tasks: tasks.splice(0, message.value.tasks) });
        if (message.case === 'started') started.push(message.value.task);
        if (message.case === 'ended') ended.push(message.value.task);
      }
    })();
    await vi.waitFor(() => expect(started).toEqual(['one']));
    expect(agent.ledger.free()['cores']).toBe(0);

    // Refused: no room for it, and nothing starts in the room that there will be.
    const refused = server.ended(offer('alone', { exclusive: true }));
    expect(await refused).toMatchObject({ kind: 'refused' });
    writeFileSync(join(dir, 'one'), '');
    running.get('a')!();
    await vi.waitFor(() => expect([ended, agent.ledger.idle]).toEqual([['one'], true]));
    expect(runner.standing().slotsFree).toBe(0);
    offer('alone', { exclusive: true });
    await vi.waitFor(() => expect(running.has('alone')).toBe(true));
    expect(started).toEqual(['one']);

    running.get('alone')!();
    await vi.waitFor(() => expect(started).toEqual(['one', 'two', 'three']));
    for (const name of ['two', 'three']) writeFileSync(join(dir, name), '');
    await vi.waitFor(() => expect(ended).toHaveLength(3));
    session.finish();
    await reading;
    expect(agent.ledger.idle).toBe(true);
  } finally {
    await runner[Symbol.asyncDispose]();
    await agent[Symbol.asyncDispose]();
    server.close();
    rmSync(dir, { recursive: true });
  }
});
