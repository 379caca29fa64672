import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { AgentView, AssignedAttempt, LeaseRequirements } from '@drover/lease-kit';
import { ManualClock } from '@drover/lease-kit/testing';
import type { ClaimRequest, LeaseQueue, StoreSignal, StoreSignals } from '@drover/lease-store';
import { describe, expect, test } from 'vitest';
import { createQueueTaskSource } from './queue-task-source.ts';

interface Waiting {
  readonly leaseId: string;
  readonly classId: number;
  readonly requirements: LeaseRequirements;
  readonly priority: number;
}

/** A queue in a list, which counts the statements that it is asked for. */
class ListQueue implements Pick<LeaseQueue, 'waitingClasses' | 'claim' | 'nextDueMs'>, StoreSignals {
  readonly waiting: Waiting[] = [];
  readonly claims: ClaimRequest[] = [];
  reads = 0;
  dueMs: number | undefined;
  readonly #listeners = new Set<(signal: StoreSignal) => void>();

  add(classId: number, requirements: LeaseRequirements, count = 1, priority = 0): void {
    for (let index = 0; index < count; index += 1) {
      this.waiting.push({ leaseId: `c${classId}-${this.waiting.length}`, classId, requirements, priority });
    }
  }

  waitingClasses() {
    this.reads += 1;
    const classes = new Map(this.waiting.map((lease) => [lease.classId, lease]));
    return Promise.resolve(
      [...classes.values()]
        .map(({ classId, requirements, priority }) => ({
          classId,
          requirements,
          payloadType: 'x.Work',
          submitter: '',
          priorityMax: priority,
          priorityMin: priority,
          ageMsMax: 0,
        }))
        .sort((a, b) => b.priorityMax - a.priorityMax),
    );
  }

  claim(request: ClaimRequest): Promise<AssignedAttempt[]> {
    this.claims.push(request);
    this.waiting.sort((a, b) => b.priority - a.priority);
    const claimed: AssignedAttempt[] = [];
    for (const place of request.places) {
      const index = this.waiting.findIndex(({ classId }) => request.classIds.includes(classId));
      if (index < 0) break;
      const { leaseId, requirements } = this.waiting.splice(index, 1)[0]!;
      claimed.push({
        ...place,
        leaseId,
        attempt: 1,
        payload: create(AnySchema),
        requirements,
        runLimitMs: 0,
        cancelGraceMs: 0,
      });
    }
    return Promise.resolve(claimed);
  }

  nextDueMs(): Promise<number | undefined> {
    return Promise.resolve(this.dueMs);
  }

  announce(signal: StoreSignal): void {
    for (const listener of this.#listeners) listener(signal);
  }

  listen(listener: (signal: StoreSignal) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

const agent = (agentId: string, cores: number, leasesFree = 100, os = 'linux'): AgentView => ({
  agentId,
  epoch: 1,
  properties: new Map([['os', [os]]]),
  pools: [],
  resourcesTotal: { cores },
  resourcesFree: { cores },
  leasesFree,
  idle: true,
  payloadTypes: ['x.Work'],
});

const context = { signal: new AbortController().signal };

function setUp() {
  const queue = new ListQueue();
  const clock = new ManualClock();
  const source = createQueueTaskSource({ name: 'job' }, { queue, signals: queue, clock, random: () => 0.5 });
  const taken = async (agents: readonly AgentView[]): Promise<Record<string, number>> => {
    const answers = await source.ask(agents, context);
    return Object.fromEntries(
      [...answers].map(([id, answer]) => [id, answer.kind === 'assigned' ? answer.attempts.length : -1]),
    );
  };
  return { queue, clock, source, taken };
}

describe('the queue source', () => {
  test('answers while more waits, so that agents start while the next leases are claimed, and wakes for the rest', async () => {
    const { queue, source, taken } = setUp();
    let wakes = 0;
    const unlisten = source.onWork!(() => (wakes += 1));
    queue.add(1, {}, 1_000);
    const agents = [agent('a', 8, 600), agent('b', 8, 600)];
    // 32 and 128 in the first, then what one statement claims.
    expect(await taken(agents)).toEqual({ a: 80, b: 80 });
    expect(queue.claims.map(({ places }) => places.length)).toEqual([32, 128]);
    expect(wakes).toBe(1);
    expect(await taken(agents)).toEqual({ a: 128, b: 128 });
    expect(queue.claims).toHaveLength(3);
    expect(queue.reads).toBe(1);
    unlisten();
  });

  test('claims for all agents of equal classes in one statement and spreads the leases', async () => {
    const { queue, taken } = setUp();
    queue.add(1, { resources: { cores: 1 } }, 6);
    expect(await taken([agent('a', 8), agent('b', 8), agent('c', 8)])).toEqual({ a: 2, b: 2, c: 2 });
    expect(queue.claims).toHaveLength(1);
  });

  test('fills agents to the last core with mixed classes and never beyond', async () => {
    const { queue, taken } = setUp();
    queue.add(1, { resources: { cores: 4 } }, 1, 10);
    queue.add(2, { resources: { cores: 1 } }, 100);
    expect(await taken([agent('a', 8)])).toEqual({ a: 5 });
    expect(queue.waiting).toHaveLength(96);
  });

  test('gives the more urgent class first and leaves agents alone that do not fit', async () => {
    const { queue, taken } = setUp();
    queue.add(1, { condition: 'os == linux' }, 3, 0);
    queue.add(2, { condition: 'os == linux' }, 2, 5);
    expect(await taken([agent('a', 1, 2), agent('w', 1, 9, 'windows')])).toEqual({ a: 2 });
    expect(queue.waiting.map(({ classId }) => classId)).toEqual([1, 1, 1]);
  });

  test('gives an exclusive lease to an idle agent, and nothing beside it', async () => {
    const { queue, taken } = setUp();
    queue.add(1, { exclusive: true }, 2, 1);
    queue.add(2, {}, 5);
    expect(await taken([agent('a', 4)])).toEqual({ a: 1 });
    expect(await taken([{ ...agent('b', 4), idle: false }])).toEqual({ b: 5 });
  });

  test('asks nothing of the store while nothing waits, until a signal or the poll', async () => {
    const { queue, clock, source, taken } = setUp();
    let woken = 0;
    const stop = source.onWork!(() => (woken += 1));
    await taken([agent('a', 4)]);
    await taken([agent('a', 4)]);
    expect([queue.reads, queue.claims.length]).toEqual([1, 0]);
    queue.add(1, {});
    queue.announce({ kind: 'work', source: 'other' });
    expect(woken).toBe(0);
    queue.announce({ kind: 'work', source: 'job' });
    expect(woken).toBe(1);
    expect(await taken([agent('a', 4)])).toEqual({ a: 1 });
    queue.add(1, {});
    clock.advance(2_000);
    await expect.poll(() => woken).toBe(2);
    stop();
    expect(clock.pendingCalls).toBe(0);
  });

  test('does not repeat a claim that came back short until there is news', async () => {
    const { queue, source, taken } = setUp();
    source.onWork!(() => undefined);
    const view = agent('a', 4);
    queue.add(1, {});
    await taken([view]);
    await taken([view]);
    expect(queue.claims).toHaveLength(1);
    queue.announce({ kind: 'work', source: 'job' });
    queue.add(1, {});
    expect(await taken([view])).toEqual({ a: 1 });
  });

  test('goes on under constant news', async () => {
    const { queue, source, taken } = setUp();
    source.onWork!(() => undefined);
    queue.add(1, {}, 3);
    const read = queue.waitingClasses.bind(queue);
    queue.waitingClasses = () => {
      queue.announce({ kind: 'work', source: 'job' });
      return read();
    };
    expect(await taken([agent('a', 4)])).toEqual({ a: 3 });
    expect(queue.reads).toBeLessThan(3);
  });

  test('wakes when a lease falls due that a signal spoke of', async () => {
    const { queue, clock, source, taken } = setUp();
    let woken = 0;
    source.onWork!(() => (woken += 1));
    queue.dueMs = 1_000;
    await taken([agent('a', 4)]);
    await expect.poll(() => clock.pendingCalls).toBe(2);
    clock.advance(1_000);
    expect(woken).toBe(1);
  });
});
