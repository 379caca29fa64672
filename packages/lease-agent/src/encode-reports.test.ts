import { create, toBinary } from '@bufbuild/protobuf';
import { AgentLeaseSchema, AgentState, Outcome } from '@drover/lease-protocol';
import { expect, test } from 'vitest';
import { encodeReports } from './encode-reports.ts';

const report = (index: number) =>
  create(AgentLeaseSchema, {
    leaseId: `lease-${index}`,
    attempt: index + 1,
    state: AgentState.FINISHED,
    outcome: Outcome.COMPLETED,
    result: {
      case: 'output',
      value: { typeUrl: 'type.googleapis.com/x.Output', value: new Uint8Array(index % 300).fill(index) },
    },
  });

test.each([0, 1, 2, 255, 256, 257, 600])('%i reports become the bytes that each of them has alone', (count) => {
  const reports = Array.from({ length: count }, (_, index) => report(index));
  const alone = reports.map((one) => Buffer.from(toBinary(AgentLeaseSchema, one)).toString('hex'));
  expect(encodeReports(reports).map((bytes) => Buffer.from(bytes).toString('hex'))).toEqual(alone);
});

test('a report without anything in it is still one message', () => {
  const empty = create(AgentLeaseSchema);
  expect(encodeReports([empty, empty]).map((bytes) => bytes.length)).toEqual([0, 0]);
});
