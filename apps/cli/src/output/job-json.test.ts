import { create } from '@bufbuild/protobuf';
import { anyPack, StringValueSchema } from '@bufbuild/protobuf/wkt';
import { GetJobResponseSchema } from '@drover/control-api';
import { BatchResultSchema } from '@drover/lease-type-job';
import { expect, test } from 'vitest';
import { jsonText } from './job-json.ts';

const answer = create(GetJobResponseSchema, {
  job: {
    jobId: 'j',
    leases: [
      { leaseId: 'known', output: anyPack(BatchResultSchema, create(BatchResultSchema, { succeeded: true })) },
      { leaseId: 'strange', output: anyPack(StringValueSchema, create(StringValueSchema, { value: 'hi' })) },
      { leaseId: 'none' },
    ],
  },
});
const outputs = (text: string): unknown[] =>
  (JSON.parse(text) as { job: { leases: { output?: unknown }[] } }).job.leases.map(({ output }) => output);

test('an output of a lease type that the command line does not know is shown by its type and bytes', () => {
  expect(outputs(jsonText(GetJobResponseSchema, answer))).toEqual([
    expect.objectContaining({ '@type': 'type.googleapis.com/drover.job.v1.BatchResult', succeeded: true }),
    { '@type': 'type.googleapis.com/google.protobuf.StringValue', value: Buffer.from('\n\x02hi').toString('base64') },
    undefined,
  ]);
});

test('an output whose type is given is shown by its fields', () => {
  expect(outputs(jsonText(GetJobResponseSchema, answer, [StringValueSchema]))[1]).toEqual({
    '@type': 'type.googleapis.com/google.protobuf.StringValue',
    value: 'hi',
  });
});
