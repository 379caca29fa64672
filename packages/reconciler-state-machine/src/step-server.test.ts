import { describe, expect, test } from 'vitest';
import type { AgentCopy, AgentLease } from './copies.ts';
import { listDigestText } from './list-digest.ts';
import type { ServerEffect, ServerEvent, ServerMachineOptions } from './server-machine.ts';
import { initialServerState, nextServerDeadlineMs, type ServerState } from './server-state.ts';
import { stepServer, stepServerBatch } from './step-server.ts';

const options: ServerMachineOptions = {
  sessionId: 's',
  epoch: 7,
  heartbeatMs: 10,
  sessionTimeoutMs: 100,
  leasesMax: 4,
  digest: (text) => `#${text}`,
};
const keyA = { leaseId: 'a', attempt: 1 };
const keyB = { leaseId: 'b', attempt: 1 };

function session(): ServerState<string> {
  const state = initialServerState<string>(options);
  stepServer(state, { type: 'loaded', attempts: [], nowMs: 0 });
  stepServer(state, { type: 'link-opened', nowMs: 0 });
  return state;
}

const copyOf = (revision: number, acknowledged: number, leases: readonly AgentLease<string>[]): AgentCopy<string> => ({
  sessionId: 's',
  epoch: 7,
  revision,
  acknowledged,
  wantsWhole: false,
  list: { kind: 'whole', leases },
});

const receive = (state: ServerState<string>, copy: AgentCopy<string>, nowMs = 0): readonly ServerEffect<string>[] =>
  stepServer(state, { type: 'copy-received', copy, nowMs }).effects;

const types = (effects: readonly { readonly type: string }[]): readonly string[] => effects.map(({ type }) => type);

describe('a session of the server', () => {
  test('keeps a copy that comes before the list is loaded, and says nothing until then (I6)', () => {
    const state = initialServerState<string>(options);
    expect(stepServer(state, { type: 'link-opened', nowMs: 0 }).effects).toEqual([]);
    expect(receive(state, copyOf(1, 0, [{ ...keyA, state: 'accepted' }]))).toEqual([]);
    const { effects } = stepServer(state, { type: 'loaded', attempts: [{ ...keyA, state: 'offered' }], nowMs: 5 });
    expect(types(effects)).toEqual(['write', 'send']);
    expect(effects[1]).toMatchObject({ copy: { revision: 1, acknowledged: 0 } });
  });

  test('acknowledges an end only when it is persisted, then drops the attempt (I7)', () => {
    const state = session();
    stepServer(state, { type: 'assigned', attempts: [{ ...keyA, state: 'offered' }] });
    const reported = receive(state, copyOf(1, 2, [{ ...keyA, state: 'finished', report: 'r' }]));
    expect(reported.find(({ type }) => type === 'write')).toMatchObject({
      writes: [{ kind: 'end', ending: { kind: 'reported', report: 'r' }, cancelWished: false }],
    });
    expect(reported.find(({ type }) => type === 'send')).toMatchObject({ copy: { acknowledged: 0 } });
    const { effects } = stepServer(state, { type: 'written', writeId: 1, result: 'persisted' });
    expect(types(effects)).toEqual(['settled', 'send']);
    expect(effects[1]).toMatchObject({ copy: { acknowledged: 1, list: { kind: 'whole', leases: [] } } });
  });

  test('writes no acceptance for work that ends before the acceptance was written', () => {
    const state = session();
    stepServer(state, { type: 'assigned', attempts: [{ ...keyA, state: 'offered' }] });
    const { effects } = stepServerBatch(state, [
      { type: 'copy-received', copy: copyOf(2, 2, [{ ...keyA, state: 'accepted' }]), nowMs: 0 },
      { type: 'copy-received', copy: copyOf(3, 2, [{ ...keyA, state: 'finished', report: 'r' }]), nowMs: 0 },
    ]);
    expect(effects.filter(({ type }) => type === 'write')).toHaveLength(1);
    expect(effects[0]).toMatchObject({ writes: [{ kind: 'end' }] });
  });

  test('a cancel before any copy listed the attempt ends it without the agent', () => {
    const state = session();
    stepServer(state, { type: 'link-lost', nowMs: 0 });
    stepServer(state, { type: 'assigned', attempts: [{ ...keyA, state: 'offered' }] });
    const { effects } = stepServer(state, { type: 'cancel-wished', key: keyA });
    expect(effects).toMatchObject([
      { type: 'write', writes: [{ kind: 'end', ending: { kind: 'cancelled-unoffered' }, cancelWished: true }] },
    ]);
    expect(stepServer(state, { type: 'cancel-wished', key: { leaseId: 'unknown', attempt: 1 } }).effects).toEqual([]);
  });

  test('tells the agent of the work once, and then only that it stands', () => {
    const state = session();
    const { effects } = stepServer(state, { type: 'assigned', attempts: [{ ...keyA, state: 'offered' }] });
    expect(effects).toMatchObject([{ copy: { revision: 2, list: { leases: [{ withWork: true }] } } }]);
    receive(state, copyOf(1, 2, [{ ...keyA, state: 'accepted' }]));
    const again = stepServer(state, { type: 'assigned', attempts: [{ leaseId: 'b', attempt: 1, state: 'offered' }] });
    expect(again.effects).toMatchObject([{ copy: { list: { leases: [{ withWork: false }, { withWork: true }] } } }]);
  });

  test('an idle heartbeat costs a digest each way, no list and no write', () => {
    const state = session();
    receive(state, copyOf(1, 1, []));
    const beat: AgentCopy<string> = {
      ...copyOf(2, 1, []),
      list: { kind: 'digest', digest: options.digest(listDigestText(2, [])) },
    };
    const effects = receive(state, beat, 10);
    expect(effects).toMatchObject([{ type: 'send', copy: { acknowledged: 2, list: { kind: 'digest' } } }]);
    expect(receive(state, { ...beat, revision: 2 }, 11)).toEqual([]);
  });

  test('a digest that it cannot resolve asks for the whole copy (I10)', () => {
    const state = session();
    receive(state, copyOf(1, 1, []));
    const effects = receive(state, { ...copyOf(2, 1, []), list: { kind: 'digest', digest: 'other' } });
    expect(effects).toMatchObject([{ type: 'send', copy: { wantsWhole: true, acknowledged: 1 } }]);
    expect(receive(state, copyOf(2, 1, []), 20)).toMatchObject([{ copy: { wantsWhole: false, acknowledged: 2 } }]);
  });

  test.each<[string, ServerEvent<string>[], string]>([
    ['a newer session', [{ type: 'fenced' }], 'fenced'],
    ['the process stops', [{ type: 'stopping' }], 'server-stopping'],
    ['silence', [{ type: 'tick', nowMs: 100 }], 'expired'],
    [
      'an acknowledgement of what was never sent',
      [{ type: 'copy-received', copy: copyOf(1, 9, []), nowMs: 0 }],
      'protocol-violation',
    ],
    [
      'more attempts than the bound',
      [{ type: 'assigned', attempts: [1, 2, 3, 4, 5].map((attempt) => ({ leaseId: 'a', attempt, state: 'offered' })) }],
      'too-many-leases',
    ],
  ])('ends on %s', (_, events, reason) => {
    const state = session();
    const { effects } = stepServerBatch(state, events);
    expect(effects.at(-1)).toMatchObject({ type: 'end-session', reason });
    expect(stepServer(state, { type: 'tick', nowMs: 1e9 }).effects).toEqual([]);
    expect(nextServerDeadlineMs(state)).toBeUndefined();
  });

  test.each([
    ['fenced', 'fenced'],
    ['unknown', 'store-lost'],
  ] as const)('a write that is %s ends it', (result, reason) => {
    const state = session();
    stepServer(state, { type: 'assigned', attempts: [{ ...keyA, state: 'offered' }] });
    receive(state, copyOf(1, 2, [{ ...keyA, state: 'accepted' }]));
    const { effects } = stepServer(state, { type: 'written', writeId: 1, result });
    expect(effects).toMatchObject([{ type: 'end-session', reason }]);
  });

  test('an attempt that goes back on its word ends it (I9 is for faithful agents only)', () => {
    const state = session();
    stepServer(state, { type: 'assigned', attempts: [{ ...keyA, state: 'offered' }] });
    receive(state, copyOf(1, 2, [{ ...keyA, state: 'finished', report: 'r' }]));
    const effects = receive(state, copyOf(2, 2, [{ ...keyA, state: 'accepted' }]));
    expect(effects).toMatchObject([{ type: 'end-session', reason: 'protocol-violation' }]);
  });

  test('an offer that nobody takes in time ends, and its end is told when it is persisted (I12)', () => {
    const state = session();
    stepServer(state, {
      type: 'assigned',
      attempts: [
        { ...keyA, state: 'offered', startMsMax: 30 },
        { ...keyB, state: 'offered', startMsMax: 20 },
      ],
      nowMs: 5,
    });
    expect(nextServerDeadlineMs(state)).toBe(25);
    receive(state, copyOf(1, 1, [{ ...keyB, state: 'accepted' }]));
    stepServer(state, { type: 'written', writeId: 1, result: 'persisted' });
    // B was taken: nothing is due but A.
    expect(stepServer(state, { type: 'tick', nowMs: 25 }).effects).toEqual([]);
    expect(nextServerDeadlineMs(state)).toBe(35);
    const [write] = stepServer(state, { type: 'tick', nowMs: 35 }).effects;
    expect(write).toMatchObject({ type: 'write', writes: [{ key: keyA, ending: { kind: 'not-started' } }] });
    // The agent takes it just now: its acceptance is not recorded any more, and it will find that it has an orphan.
    const late = [keyA, keyB].map((key) => ({ ...key, state: 'accepted' as const }));
    expect(receive(state, copyOf(2, 1, late)).map(({ type }) => type)).not.toContain('write');
    const { effects } = stepServer(state, { type: 'written', writeId: 2, result: 'persisted' });
    expect(effects).toContainEqual({ type: 'settled', key: keyA, ending: { kind: 'not-started' } });
    expect(nextServerDeadlineMs(state)).toBe(100);
  });

  test('that the agent goes down is written once, and acknowledged when it is persisted (I7, I11)', () => {
    const state = session();
    stepServer(state, { type: 'assigned', attempts: [{ ...keyA, state: 'offered' }] });
    const going = [{ ...keyA, state: 'going-down' as const }];
    const [write] = receive(state, copyOf(1, 2, going));
    expect(write).toMatchObject({ type: 'write', writes: [{ kind: 'acceptance', key: keyA, goingDown: true }] });
    expect(state.persisted).toBe(0);
    const { effects } = stepServer(state, { type: 'written', writeId: 1, result: 'persisted' });
    // The handler waits for it.
    expect(effects).toMatchObject([{ type: 'send', copy: { acknowledged: 1 } }]);
    expect(receive(state, copyOf(2, 3, going)).map(({ type }) => type)).not.toContain('write');
    const back = receive(state, copyOf(3, 3, [{ ...keyA, state: 'accepted' }]));
    expect(back).toMatchObject([{ type: 'end-session', reason: 'protocol-violation' }]);
  });

  test('answers the first copy on a link, also when it spoke just now', () => {
    const state = session();
    receive(state, copyOf(1, 1, []));
    expect(receive(state, copyOf(1, 1, []))).toEqual([]);
    stepServer(state, { type: 'link-lost', nowMs: 0 });
    stepServer(state, { type: 'link-opened', nowMs: 0 });
    expect(types(receive(state, copyOf(2, 1, [])))).toEqual(['send']);
  });
});
