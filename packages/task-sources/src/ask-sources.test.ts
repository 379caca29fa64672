import type { AgentView, AssignedAttempt, TaskAnswer, TaskSource } from '@drover/lease-kit';
import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import { describe, expect, test } from 'vitest';
import { askSources, type Candidate } from './ask-sources.ts';

const view = (agentId: string): AgentView => ({
  agentId,
  epoch: 1,
  properties: new Map(),
  pools: [],
  resourcesTotal: {},
  resourcesFree: {},
  leasesFree: 1,
  idle: true,
  payloadTypes: [],
});
const candidate = (agentId: string, rest: Partial<Candidate> = {}): Candidate => ({
  view: view(agentId),
  enabled: true,
  inDowntime: false,
  ...rest,
});
const attempt = (agentId: string, leaseId: string): AssignedAttempt => ({
  leaseId,
  attempt: 1,
  agentId,
  epoch: 1,
  payload: create(AnySchema),
  requirements: {},
  runLimitMs: 0,
  cancelGraceMs: 0,
});
const gives = (agentId: string, leaseId: string): [string, TaskAnswer] => [
  agentId,
  { kind: 'assigned', attempts: [attempt(agentId, leaseId)] },
];

/** A source that answers from a list and notes whom it was asked about. */
function source(name: string, answers: readonly [string, TaskAnswer][], rest: Partial<TaskSource> = {}) {
  const asked: string[][] = [];
  const made: TaskSource = {
    name,
    ask: (agents) => {
      asked.push(agents.map(({ agentId }) => agentId));
      return Promise.resolve(new Map(answers));
    },
    ...rest,
  };
  return { asked, source: made };
}

const context = { signal: new AbortController().signal };

describe('asking sources', () => {
  test('an agent that got an answer is not offered to the sources behind', async () => {
    const first = source('first', [gives('a', 'l1')]);
    const second = source('second', [gives('b', 'l2')]);
    const outcome = await askSources([first.source, second.source], [candidate('a'), candidate('b')], context);
    expect(first.asked).toEqual([['a', 'b']]);
    expect(second.asked).toEqual([['b']]);
    expect(outcome.assigned.map(({ source, attempt }) => [source, attempt.leaseId])).toEqual([
      ['first', 'l1'],
      ['second', 'l2'],
    ]);
  });

  test('a drain keeps the other sources away, and its source lets go by answering nothing', async () => {
    const drainer = source('upgrade', [['a', { kind: 'drain', reason: 'new version' }]]);
    const jobs = source('job', []);
    const drained = await askSources([drainer.source, jobs.source], [candidate('a')], context);
    expect(drained.drains.get('a')).toEqual({ source: 'upgrade', reason: 'new version' });
    expect(jobs.asked).toEqual([]);

    const done = source('upgrade', []);
    const released = await askSources([done.source, jobs.source], [candidate('a', { drainedBy: 'upgrade' })], context);
    expect(jobs.asked).toEqual([]);
    expect(released.released).toEqual(['a']);
  });

  test('a drain keeps no source away that stands before its own: what is wanted of machines is not starved by jobs', async () => {
    const nothing = source('restart', []);
    const jobs = source('job', [['a', { kind: 'drain', reason: 'held back' }]]);
    const held = candidate('a', { drainedBy: 'job' });
    const kept = await askSources([nothing.source, jobs.source], [held], context);
    expect(nothing.asked).toEqual([['a']]);
    expect([kept.drains.get('a')?.source, kept.released]).toEqual(['job', []]);

    const restart = source('restart', [['a', { kind: 'drain', reason: 'to be restarted' }]]);
    const over = await askSources([restart.source, jobs.source], [held], context);
    expect(over.drains.get('a')).toEqual({ source: 'restart', reason: 'to be restarted' });
    expect([jobs.asked.length, over.released]).toEqual([1, []]);

    const forced = source('restart', [gives('a', 'l1')]);
    const taken = await askSources([forced.source, jobs.source], [held], context);
    expect(taken.assigned).toHaveLength(1);
    expect([taken.drains.size, taken.released]).toEqual([0, []]);
  });

  test('a drain by a source that this server does not have keeps all away', async () => {
    const jobs = source('job', []);
    const outcome = await askSources([jobs.source], [candidate('a', { drainedBy: 'elsewhere' })], context);
    expect(jobs.asked).toEqual([]);
    expect(outcome.released).toEqual([]);
  });

  test('disabled agents and those in downtime are offered to sources that say so alone', async () => {
    const jobs = source('job', []);
    const restart = source('restart', [], { assignsWhenDisabled: true, assignsInDowntime: true });
    const candidates = [candidate('off', { enabled: false }), candidate('down', { inDowntime: true }), candidate('on')];
    await askSources([jobs.source, restart.source], candidates, context);
    expect(jobs.asked).toEqual([['on']]);
    expect(restart.asked).toEqual([['off', 'down', 'on']]);
  });

  test('a source that throws leaves its agents out of the round and is reported with them', async () => {
    const failing: TaskSource = { name: 'job', ask: () => Promise.reject(new Error('away')) };
    const behind = source('other', []);
    const outcome = await askSources([failing, behind.source], [candidate('a')], context);
    expect(outcome.failures).toMatchObject([{ source: 'job', agents: [{ agentId: 'a' }] }]);
    expect(behind.asked).toEqual([]);
  });
});
