import { describe, expect, test } from 'vitest';
import type { AgentEffect, AgentEvent, AgentMachineOptions } from './agent-machine.ts';
import { initialAgentState, nextAgentDeadlineMs, type AgentState } from './agent-state.ts';
import type { ServerCopy, ServerLease } from './copies.ts';
import { stepAgent, stepAgentBatch } from './step-agent.ts';

const options: AgentMachineOptions = {
  leasesMax: 2,
  digest: (text) => `#${text}`,
  backoffMinMs: 1,
  backoffMaxMs: 4,
  acceptanceDelayMs: 5,
};
const keyA = { leaseId: 'a', attempt: 1 };
const opened: AgentEvent<string> = {
  type: 'session-opened',
  sessionId: 's',
  epoch: 1,
  heartbeatMs: 10,
  sessionTimeoutMs: 100,
  sentAtMs: 0,
  nowMs: 0,
};

const tell = (agent: AgentState<string>, ...events: AgentEvent<string>[]): readonly AgentEffect<string>[] =>
  events.flatMap((event) => stepAgent(agent, event).effects);

const types = (effects: readonly { readonly type: string }[]): readonly string[] => effects.map(({ type }) => type);

function agentInSession(changes: Partial<AgentMachineOptions> = {}): AgentState<string> {
  const agent = initialAgentState<string>({ ...options, ...changes });
  tell(agent, { type: 'restored', attempts: [], nowMs: 0 }, opened, { type: 'link-opened', nowMs: 0 });
  return agent;
}

const copyOf = (revision: number, acknowledged: number, leases: readonly Partial<ServerLease>[] = []): ServerCopy => ({
  sessionId: 's',
  epoch: 1,
  revision,
  acknowledged,
  wantsWhole: false,
  list: {
    kind: 'whole',
    leases: leases.map((lease) => ({ ...keyA, state: 'offered', withWork: true, ...lease })),
  },
});

const receive = (agent: AgentState<string>, copy: ServerCopy, nowMs = 0): readonly AgentEffect<string>[] =>
  tell(agent, { type: 'copy-received', copy, nowMs });

/** The agent runs attempt a1. */
function runningAgent(cutOff: 'stop' | 'go-on' = 'stop'): AgentState<string> {
  const agent = agentInSession();
  receive(agent, copyOf(1, 1, [{}]));
  tell(agent, { type: 'considered', key: keyA, cutOff }, { type: 'journalled', writeId: 1 });
  return agent;
}

describe('an attempt on the agent', () => {
  test('is journalled, started, journalled, reported and dropped, in that order (I5, I7)', () => {
    const agent = agentInSession();
    expect(receive(agent, copyOf(1, 1, [{}]))).toEqual([{ type: 'consider', key: keyA }]);
    expect(types(tell(agent, { type: 'considered', key: keyA, cutOff: 'stop' }))).toEqual(['journal']);
    expect(tell(agent, { type: 'journalled', writeId: 1 })).toEqual([{ type: 'start', key: keyA }]);
    expect(types(tell(agent, { type: 'handler-ended', key: keyA, report: 'r' }))).toEqual(['journal']);
    expect(tell(agent, { type: 'journalled', writeId: 2 })).toMatchObject([
      { type: 'send', copy: { acknowledged: 1, list: { leases: [{ state: 'finished', report: 'r' }] } } },
    ]);
    expect(receive(agent, copyOf(2, 1))).toEqual([]);
    expect(receive(agent, copyOf(2, agent.revision))).toMatchObject([
      { type: 'journal', entries: [{ kind: 'dropped' }] },
    ]);
    expect(tell(agent, { type: 'journalled', writeId: 3 })).toEqual([{ type: 'forget', key: keyA }]);
  });

  test('news of an acceptance waits a moment for company', () => {
    const agent = runningAgent();
    expect(nextAgentDeadlineMs(agent)).toBe(5);
    expect(tell(agent, { type: 'tick', nowMs: 5 })).toMatchObject([
      { type: 'send', copy: { acknowledged: 1, list: { leases: [{ state: 'accepted' }] } } },
    ]);
  });

  test('is not acknowledged while it is undecided, and what came before it is (I2)', () => {
    const agent = agentInSession();
    receive(agent, copyOf(1, 1));
    receive(agent, copyOf(2, 1, [{}]));
    expect(tell(agent, { type: 'tick', nowMs: 10 })).toMatchObject([{ copy: { acknowledged: 1 } }]);
    expect(tell(agent, { type: 'considered', key: keyA, refusal: 'no' })).toMatchObject([
      { copy: { acknowledged: 2, list: { leases: [{ state: 'refused', report: 'no' }] } } },
    ]);
  });

  test('of an earlier process is resumed, never started, and proven (I3)', () => {
    const agent = initialAgentState<string>(options);
    const attempts = [
      { ...keyA, state: 'accepted', cutOff: 'stop' },
      { leaseId: 'b', attempt: 2, state: 'finished', report: 'r', cutOff: 'stop' },
    ] as const;
    expect(tell(agent, { type: 'restored', attempts, nowMs: 0 })).toEqual([
      { type: 'resume', key: keyA },
      { type: 'open-session', proven: [keyA, { leaseId: 'b', attempt: 2 }], goingDown: [] },
    ]);
    tell(agent, opened);
    expect(tell(agent, { type: 'link-opened', nowMs: 0 })).toMatchObject([
      { copy: { revision: 1, list: { leases: [{ state: 'accepted' }, { state: 'finished', report: 'r' }] } } },
    ]);
    expect(receive(agent, copyOf(1, 1, [{ state: 'accepted' }, { leaseId: 'b', attempt: 2 }]))).toEqual([]);
  });

  test('that was cancelled before it started is told so right after the start', () => {
    const agent = agentInSession();
    receive(agent, copyOf(1, 1, [{}]));
    tell(agent, { type: 'considered', key: keyA, cutOff: 'stop' });
    expect(receive(agent, copyOf(2, 1, [{ state: 'cancelling' }]))).toEqual([]);
    expect(types(tell(agent, { type: 'journalled', writeId: 1 }))).toEqual(['start', 'stop']);
    expect(receive(agent, copyOf(3, 1, [{ state: 'cancelling' }]))).toEqual([]);
  });

  test('that is cancelled while it is considered can only be refused', () => {
    const agent = agentInSession();
    receive(agent, copyOf(1, 1, [{}]));
    expect(receive(agent, copyOf(2, 1, [{ state: 'cancelling' }]))).toEqual([
      { type: 'consider', key: keyA, mustRefuse: 'cancelled' },
    ]);
    expect(tell(agent, { type: 'considered', key: keyA, cutOff: 'stop' })).toEqual([]);
    expect(types(tell(agent, { type: 'considered', key: keyA, refusal: 'no' }))).toEqual(['send']);
  });

  test('beyond the bound waits for room', () => {
    const agent = agentInSession();
    const offers = ['a', 'b', 'c'].map((leaseId) => ({ leaseId }));
    expect(types(receive(agent, copyOf(1, 1, offers)))).toEqual(['consider', 'consider']);
    tell(agent, { type: 'considered', key: keyA, refusal: 'no' });
    const effects = receive(agent, copyOf(2, agent.revision, offers.slice(1)));
    expect(effects).toMatchObject([{ type: 'forget' }, { type: 'consider', key: { leaseId: 'c' } }]);
  });

  test('that a new session does not know is stopped, then dropped without a report (I2)', () => {
    const agent = runningAgent();
    tell(
      agent,
      { type: 'session-rejected', reason: 'unknown', nowMs: 20 },
      { ...opened, epoch: 2, sentAtMs: 20, nowMs: 20 },
    );
    tell(agent, { type: 'link-opened', nowMs: 20 });
    expect(receive(agent, { ...copyOf(1, 0), epoch: 2 }, 20)).toEqual([]);
    expect(receive(agent, { ...copyOf(1, 1), epoch: 2 }, 20)).toEqual([{ type: 'stop', key: keyA, cause: 'orphaned' }]);
    expect(tell(agent, { type: 'handler-ended', key: keyA, report: 'r' })).toMatchObject([
      { type: 'journal', entries: [{ kind: 'dropped' }] },
    ]);
  });
});

describe('the link and the session', () => {
  test('a lost link is opened again after the back-off, the session stays', () => {
    const agent = agentInSession();
    tell(agent, { type: 'link-lost', nowMs: 20 });
    expect(nextAgentDeadlineMs(agent)).toBe(21);
    expect(tell(agent, { type: 'tick', nowMs: 21 })).toEqual([{ type: 'open-link' }]);
    tell(agent, { type: 'link-lost', nowMs: 21 });
    expect(nextAgentDeadlineMs(agent)).toBe(23);
    tell(agent, { type: 'tick', nowMs: 23 });
    expect(tell(agent, { type: 'link-opened', nowMs: 24 })).toMatchObject([
      { type: 'send', copy: { epoch: 1, revision: 2 } },
    ]);
  });

  test('a heartbeat has a revision of its own, so that its answer proves that the server was there', () => {
    const agent = agentInSession();
    receive(agent, copyOf(1, 1), 1);
    expect(tell(agent, { type: 'tick', nowMs: 10 })).toMatchObject([
      { copy: { revision: 2, list: { kind: 'digest' } } },
    ]);
    receive(agent, copyOf(1, 1), 11);
    tell(agent, { type: 'link-lost', nowMs: 12 });
    tell(agent, { type: 'tick', nowMs: 13 }, { type: 'link-lost', nowMs: 99 });
    expect(nextAgentDeadlineMs(agent)).toBe(100);
    const answered = agentInSession();
    tell(answered, { type: 'tick', nowMs: 10 });
    receive(answered, copyOf(1, 2), 11);
    tell(answered, { type: 'link-lost', nowMs: 109 });
    expect(nextAgentDeadlineMs(answered)).toBe(110);
  });

  test('a link on which the server is silent for three heartbeats is dead', () => {
    const agent = agentInSession();
    tell(agent, { type: 'tick', nowMs: 10 }, { type: 'tick', nowMs: 20 });
    expect(tell(agent, { type: 'tick', nowMs: 30 })).toEqual([{ type: 'close-link' }]);
  });

  test.each([
    ['stop', ['stop', 'open-session']],
    ['go-on', ['open-session']],
  ] as const)('at the time-out an attempt that says %s', (cutOff, expected) => {
    const agent = runningAgent(cutOff);
    tell(agent, { type: 'link-lost', nowMs: 50 });
    expect(types(tell(agent, { type: 'tick', nowMs: 100 }))).toEqual(expected);
  });

  test('a session that cannot be opened is tried again, later each time', () => {
    const agent = initialAgentState<string>(options);
    tell(agent, { type: 'restored', attempts: [], nowMs: 0 });
    const waits = [0, 1, 3, 7, 11].map((nowMs) => {
      tell(agent, { type: 'session-failed', nowMs });
      const dueMs = nextAgentDeadlineMs(agent)!;
      expect(types(tell(agent, { type: 'tick', nowMs: dueMs }))).toEqual(['open-session']);
      return dueMs - nowMs;
    });
    expect(waits).toEqual([1, 2, 4, 4, 4]);
  });

  test.each(['fenced', 'quarantined'] as const)('%s: stops its handlers, then leaves', (reason) => {
    const agent = runningAgent();
    expect(tell(agent, { type: 'session-rejected', reason, nowMs: 9 })).toEqual([
      { type: 'close-link' },
      { type: 'stop', key: keyA, cause: 'orphaned' },
    ]);
    tell(agent, { type: 'handler-ended', key: keyA, report: 'r' });
    expect(tell(agent, { type: 'journalled', writeId: 2 })).toEqual([{ type: 'exit', reason }]);
    expect(tell(agent, { type: 'tick', nowMs: 1e9 })).toEqual([]);
    expect(nextAgentDeadlineMs(agent)).toBeUndefined();
  });
});

describe('stopping and busy', () => {
  test('drain: takes nothing more, finishes, and leaves when the server has nothing for it', () => {
    const agent = runningAgent();
    expect(tell(agent, { type: 'stop-wished', how: 'drain' })).toMatchObject([
      { type: 'send', copy: { wantsWhole: true } },
    ]);
    expect(receive(agent, copyOf(2, 1, [{ state: 'accepted' }, { leaseId: 'b' }]))).toEqual([
      { type: 'consider', key: { leaseId: 'b', attempt: 1 }, mustRefuse: 'stopping' },
    ]);
    tell(agent, { type: 'considered', key: { leaseId: 'b', attempt: 1 }, refusal: 'no' });
    tell(agent, { type: 'handler-ended', key: keyA, report: 'r' }, { type: 'journalled', writeId: 2 });
    expect(types(receive(agent, copyOf(3, agent.revision)))).toEqual(['forget', 'journal']);
    expect(types(tell(agent, { type: 'journalled', writeId: 3 }))).toEqual(['forget', 'exit']);
  });

  test('an idle agent leaves when the server has answered, or at once without a link', () => {
    const agent = agentInSession();
    expect(types(tell(agent, { type: 'stop-wished', how: 'drain' }))).toEqual(['send']);
    expect(receive(agent, copyOf(1, agent.revision))).toEqual([{ type: 'exit', reason: 'drained' }]);
    const alone = initialAgentState<string>(options);
    tell(alone, { type: 'restored', attempts: [], nowMs: 0 });
    expect(tell(alone, { type: 'stop-wished', how: 'drain' })).toEqual([{ type: 'exit', reason: 'drained' }]);
  });

  test('cancel after drain stops what runs', () => {
    const agent = runningAgent();
    tell(agent, { type: 'stop-wished', how: 'drain' });
    expect(tell(agent, { type: 'stop-wished', how: 'cancel' })).toEqual([
      { type: 'stop', key: keyA, cause: 'shutting-down' },
    ]);
  });

  test('busy stops what runs and refuses offers until it is over', () => {
    const agent = runningAgent();
    expect(tell(agent, { type: 'busy', busy: true })).toEqual([{ type: 'stop', key: keyA, cause: 'busy' }]);
    expect(receive(agent, copyOf(2, 1, [{}, { leaseId: 'b' }]))).toMatchObject([{ mustRefuse: 'busy' }]);
    tell(agent, { type: 'considered', key: { leaseId: 'b', attempt: 1 }, refusal: 'no' });
    receive(agent, copyOf(3, agent.revision, [{}]));
    tell(agent, { type: 'busy', busy: false });
    expect(receive(agent, copyOf(4, 1, [{}, { leaseId: 'c' }]))).toEqual([
      { type: 'consider', key: { leaseId: 'c', attempt: 1 } },
    ]);
  });

  test('events handed over together cost one journal write', () => {
    const agent = agentInSession();
    receive(agent, copyOf(1, 1, [{}, { leaseId: 'b' }]));
    const { effects } = stepAgentBatch(agent, [
      { type: 'considered', key: keyA, cutOff: 'stop' },
      { type: 'considered', key: { leaseId: 'b', attempt: 1 }, cutOff: 'stop' },
    ]);
    expect(types(effects)).toEqual(['journal']);
  });
});
