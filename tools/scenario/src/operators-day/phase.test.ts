import { expect, test } from 'vitest';
import { runPhase } from './phase.ts';

test('what must be true and is not, is a fault', async () => {
  const said: string[] = [];
  const report = await runPhase(
    'look',
    (text) => said.push(text),
    async ({ note, mustBe }) => {
      note('seen');
      mustBe(true, 'not this');
      mustBe(false, 'this');
    },
  );
  expect(report).toMatchObject({ name: 'look', lines: ['seen'], faults: ['this'] });
  expect(said).toEqual(['look …', '  seen', '  FAULT: this']);
});

test('an error is a fault', async () => {
  const report = await runPhase(
    'look',
    () => undefined,
    async () => {
      throw new Error('broken');
    },
  );
  expect(report.faults).toEqual(['broken']);
});
