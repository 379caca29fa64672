import { afterAll, beforeAll, expect, test } from 'vitest';
import { freshSchema, type FreshSchema } from './fresh-schema.test.fixture.ts';

const context = { principal: { kind: 'user', id: 'ann' } } as const;
let fresh: FreshSchema;
beforeAll(async () => {
  fresh = await freshSchema();
});
afterAll(() => fresh[Symbol.asyncDispose]());

test('of machines that race for a token, as many win as it may enrol; of those that race for an id, one', async () => {
  const { enrolments } = fresh.store();
  const others = fresh.store().enrolments;
  const secretHash = 'a'.repeat(64);
  const draft = { secretHash, note: '', validMs: 60_000, pools: [], mayReplace: false };
  await enrolments.createToken({ ...draft, tokenId: 'three', usesMax: 3 }, context);
  await enrolments.createToken({ ...draft, tokenId: 'many' }, context);
  const key = (index: number): string => String(index).padStart(43, 'k');
  const machine = (agentId: string, index: number, tokenId: string) => ({
    agentId,
    keyThumbprint: key(index),
    name: '',
    address: '',
    pools: [],
    token: { tokenId, secretHash },
  });
  const outcomes = async (calls: Promise<unknown>[]) =>
    (await Promise.allSettled(calls)).map((one) => (one.status === 'fulfilled' ? 'won' : one.reason.code)).sort();
  const ten = Array.from({ length: 10 }, (_, index) => index);
  const race = ten.map((index) =>
    (index % 2 ? enrolments : others).apply(machine(`a${index}`, index, 'three'), context),
  );
  expect(await outcomes(race)).toEqual([...Array(7).fill('ENROLMENT_TOKEN_USED'), 'won', 'won', 'won']);
  const forId = ten.map((index) =>
    (index % 2 ? enrolments : others).apply(machine('one', 100 + index, 'many'), context),
  );
  expect(await outcomes(forId)).toEqual([...Array(9).fill('AGENT_ID_TAKEN'), 'won']);
  const tokens = await enrolments.tokens({ limit: 9 }, context);
  expect(tokens.map(({ tokenId, uses }) => [tokenId, uses])).toEqual([
    ['many', 1],
    ['three', 3],
  ]);
});
