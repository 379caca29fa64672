import { tmpdir } from 'node:os';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { stoppedText } from '../wire/index.ts';
import { cutAt, expectToReadAnything, runAgainst as run, transcript } from './run-legacy-job.test.fixture.ts';
import { StagedOutputs } from './staged-outputs.ts';

let staged: StagedOutputs;
beforeAll(async () => {
  staged = await StagedOutputs.open(tmpdir());
});
afterAll(() => staged[Symbol.asyncDispose]());

const runAgainst = (pieces: readonly Uint8Array[]): Promise<string> => run(pieces, staged);
const whole = 'completed ok error ok out/a 12 out/b 0';

test('segments may be cut anywhere', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(), { maxLength: 12 }), async (cuts) => {
      expect(await runAgainst(cutAt(transcript, cuts))).toBe(whole);
    }),
    { numRuns: 200 },
  );
  expect(await runAgainst([...transcript].map((character) => Buffer.from(character, 'latin1')))).toBe(whole);
});

test('a connection may end anywhere', async () => {
  for (let length = 0; length < transcript.length; length += 1) {
    expect(await runAgainst(cutAt(transcript.slice(0, length) + ' ', []))).toBe('lost');
  }
  expect(await runAgainst([Buffer.from(`<a><Progress>1</Progress></a>${stoppedText}`)])).toBe(
    'stopped unknown unknown unknown',
  );
});

test('bytes of any kind', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), async (pieces) => {
      expect(await runAgainst(pieces)).toBe('lost');
    }),
    { numRuns: 500 },
  );
});

test('whatever an agent says, it is read to an end, and leaves nothing', () => expectToReadAnything(1000));
