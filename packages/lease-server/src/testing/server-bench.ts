import { randomUUID } from 'node:crypto';
import { create } from '@bufbuild/protobuf';
import { AnySchema, type Any } from '@bufbuild/protobuf/wkt';
import type { LeaseDraft, Principal } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import { createMemoryStore, type DroverStore } from '@drover/lease-store';
import { createQueueTaskSource } from '@drover/task-sources';
import { createLeaseServer, type LeaseServer } from '../lease-server.ts';
import { agentActsForItself, type LeaseServerDeps, type LeaseServerOptions } from '../lease-server-options.ts';
import { MachineAgent, type MachineAgentOptions } from './machine-agent.ts';

/** On whose behalf a test submits. */
export const tester: Principal = { kind: 'user', id: 'tester' };

/** A message of the type that test agents take. */
export function work(value: Uint8Array = new Uint8Array([1])): Any {
  return create(AnySchema, { typeUrl: 'type.googleapis.com/x.Work', value });
}

/** A lease that any agent takes. */
export function draft(rest: Partial<LeaseDraft> = {}): LeaseDraft {
  return {
    leaseId: randomUUID(),
    source: 'job',
    name: 'work',
    payload: work(),
    requirements: {},
    priority: 0,
    runLimitMs: 60_000,
    cancelGraceMs: 1_000,
    retry: { attemptsMax: 2, after: ['lost', 'failed'], onFailedWork: false, backoffMs: 0 },
    ...rest,
  };
}

/** A store, servers and agents on one clock that a test moves. */
export class ServerBench implements AsyncDisposable {
  readonly clock = new ManualClock(1_000_000);
  readonly store: DroverStore;
  readonly servers: LeaseServer[] = [];
  readonly agents: MachineAgent[] = [];

  constructor(wrap: (store: DroverStore) => DroverStore = (store) => store) {
    this.store = wrap(createMemoryStore({ clock: this.clock }));
  }

  /** A server that runs. */
  async server(options: LeaseServerOptions = {}, deps: Partial<LeaseServerDeps> = {}): Promise<LeaseServer> {
    const server = createLeaseServer(options, {
      store: this.store,
      sources: [
        createQueueTaskSource(
          { name: 'job' },
          { queue: this.store.queue, signals: this.store.signals, clock: this.clock, random: () => 0.5 },
        ),
      ],
      authorizeAgent: agentActsForItself,
      clock: this.clock,
      random: () => 0.5,
      ...deps,
    });
    this.servers.push(server);
    await server.start();
    return server;
  }

  /** An agent whose stream is open. */
  async agent(
    server: LeaseServer | (() => LeaseServer),
    options: Partial<MachineAgentOptions> = {},
  ): Promise<MachineAgent> {
    const endpoint = typeof server === 'function' ? () => server().endpoint : () => server.endpoint;
    const agent = new MachineAgent(
      { agentId: `agent-${this.agents.length}`, ...options },
      endpoint,
      this.clock,
    ).start();
    this.agents.push(agent);
    await this.until(() => agent.linked);
    return agent;
  }

  /** Stores leases that wait, and says so. */
  async enqueue(...drafts: LeaseDraft[]): Promise<void> {
    await this.store.queue.enqueue(
      drafts.map((entry) => ({ draft: entry })),
      { principal: tester },
    );
    for (const { source } of drafts) this.store.signals.announce({ kind: 'work', source });
  }

  /** Lets everything run that can, until something is so. Time stands still, unless `stepMs` moves it at every look. */
  async until(isSo: () => boolean | Promise<boolean>, stepMs = 0): Promise<void> {
    for (let look = 0; look < 2_000; look += 1) {
      if (await isSo()) return;
      if (stepMs > 0) this.clock.advance(stepMs);
      await new Promise((resolve) => setImmediate(resolve));
    }
    throw new Error(`it never came to be: ${isSo.toString()}`);
  }

  /** Lets everything run that can. */
  async quiet(): Promise<void> {
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const agent of this.agents) agent.kill();
    for (const server of this.servers) await server.stop();
    await this.store.close();
  }
}
