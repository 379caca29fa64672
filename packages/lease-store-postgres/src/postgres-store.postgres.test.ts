import { storeCases } from '@drover/lease-store/testing';
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest';
import { freshSchema, type FreshSchema } from './fresh-schema.test.fixture.ts';

let fresh: FreshSchema;
beforeAll(async () => {
  fresh = await freshSchema();
});
afterEach(() => fresh.empty());
afterAll(() => fresh[Symbol.asyncDispose]());

describe('the Postgres store', () => {
  test.each(storeCases)('$name', ({ run }) => run({ store: fresh.store(), elapse: fresh.elapse }));
});
