import { create } from '@bufbuild/protobuf';
import { AnySchema } from '@bufbuild/protobuf/wkt';
import type { ServerCopy } from '@drover/reconciler-state-machine';
import { expect, test } from 'vitest';
import { heldAttempt, type HeldAttempt } from './held-attempt.ts';
import { serverCopyToWire } from './wire-copies.ts';

function heldWith(bytes: number, proven = false): HeldAttempt {
  const attempt = {
    leaseId: `lease-${bytes}`,
    attempt: 1,
    agentId: 'agent',
    epoch: 1,
    payload: create(AnySchema, { typeUrl: 'type.googleapis.com/x.Work', value: new Uint8Array(bytes) }),
    requirements: {},
    runLimitMs: 0,
    cancelGraceMs: 1_000,
  };
  return heldAttempt(attempt, 'job', 'offered', '', undefined, proven);
}

/** Ids of the leases whose work goes with a copy of all that is held. */
function workOf(helds: readonly HeldAttempt[], workBytesMax: number, stream?: object): string[] {
  const copy: ServerCopy = {
    sessionId: 's',
    epoch: 1,
    revision: 1,
    acknowledged: 0,
    wantsWhole: false,
    list: {
      kind: 'whole',
      leases: helds.map(({ attempt: { leaseId, attempt } }) => ({
        leaseId,
        attempt,
        state: 'offered',
        withWork: true,
      })),
    },
  };
  const { list } = serverCopyToWire(copy, new Map(helds.map((one) => [one.key, one])), workBytesMax, stream).copy!;
  if (list.case !== 'leases') throw new Error('no list');
  return list.value.leases.filter(({ work }) => work.case !== undefined).map(({ leaseId }) => leaseId);
}

test('work that is not acknowledged goes once on each stream, and with every copy where none is named', () => {
  const helds = [heldWith(1), heldWith(2)];
  const [first, second] = [{}, {}];
  expect(workOf(helds, 1_000, first)).toHaveLength(2);
  expect(workOf(helds, 1_000, first)).toEqual([]);
  expect(workOf([...helds, heldWith(3)], 1_000, first)).toEqual(['lease-3']);
  expect(workOf(helds, 1_000, second)).toHaveLength(2);
  expect(workOf(helds, 1_000)).toHaveLength(2);
  expect(workOf(helds, 1_000)).toHaveLength(2);
});

test('work of proven attempts has what room the offers leave, and what a stream has carried needs none', () => {
  const stream = {};
  const helds = [heldWith(100, true), heldWith(200), heldWith(101, true)];
  expect(workOf(helds, 400, stream)).toEqual(['lease-100', 'lease-200']);
  expect(workOf(helds, 400, stream)).toEqual(['lease-101']);
  expect(workOf(helds, 400, stream)).toEqual([]);
});
