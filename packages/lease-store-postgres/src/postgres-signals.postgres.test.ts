import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import type { DroverStore, StoreSignal } from '@drover/lease-store';
import { freshSchema, type FreshSchema } from './fresh-schema.test.fixture.ts';

let fresh: FreshSchema;
beforeAll(async () => {
  fresh = await freshSchema();
});
afterEach(() => fresh.empty());
afterAll(() => fresh[Symbol.asyncDispose]());

/** Everything that a store hears, and a wait for one of it. */
function hear(store: DroverStore) {
  const heard: StoreSignal[] = [];
  const waits: { isWanted: (signal: StoreSignal) => boolean; resolve: () => void }[] = [];
  store.signals.listen((signal) => {
    heard.push(signal);
    for (const wait of waits) if (wait.isWanted(signal)) wait.resolve();
  });
  const until = (isWanted: (signal: StoreSignal) => boolean) =>
    heard.some(isWanted) ? Promise.resolve() : new Promise<void>((resolve) => waits.push({ isWanted, resolve }));
  return { heard, until };
}

/** Waits until `to` hears what `from` says. */
async function connected(from: DroverStore, to: ReturnType<typeof hear>) {
  for (let round = 0; !to.heard.some(({ kind }) => kind === 'cancel'); round += 1) {
    from.signals.announce({ kind: 'cancel', agentId: `probe ${round}` });
    await from.check();
  }
}

test('a signal reaches every server once, however often it was announced in a moment', async () => {
  const [one, two] = [fresh.store(), fresh.store()];
  const ears = hear(two);
  await connected(one, ears);
  for (let round = 0; round < 1_000; round += 1) one.signals.announce({ kind: 'work', source: 'job' });
  one.signals.announce({ kind: 'job', jobId: 'last' });
  await ears.until((signal) => signal.kind === 'job');
  const work = ears.heard.filter(({ kind }) => kind === 'work');
  // Once in the message that left at once, and once in the one that gathered the rest.
  expect(work.length).toBeGreaterThanOrEqual(1);
  expect(work.length).toBeLessThanOrEqual(2);
});

test('many different signals are split into messages that Postgres takes', async () => {
  const [one, two] = [fresh.store(), fresh.store()];
  const ears = hear(two);
  await connected(one, ears);
  const ids = Array.from({ length: 2_000 }, (_, index) => `agent "${index}" with a long name, ünïcode 🐑 and \\`);
  for (const agentId of ids) one.signals.announce({ kind: 'fenced', agentId, epoch: 1 });
  await ears.until((signal) => signal.kind === 'fenced' && signal.agentId === ids.at(-1));
  const heard = ears.heard.flatMap((signal) => (signal.kind === 'fenced' ? signal.agentId : []));
  expect(heard).toEqual(ids);
});

test('more signals than can be kept become one that says: look at everything', async () => {
  const [one, two] = [fresh.store(), fresh.store()];
  const ears = hear(two);
  await connected(one, ears);
  for (let index = 0; index < 25_000; index += 1) one.signals.announce({ kind: 'log', leaseId: `lease ${index}` });
  await ears.until(({ kind }) => kind === 'resync');
});

test('when its connection is ended a server listens again and says that it may have missed something', async () => {
  const [one, two] = [fresh.store(), fresh.store()];
  const ears = hear(two);
  await connected(one, ears);
  const { rowCount } = await fresh.pool.query(
    `select pg_terminate_backend(pid) from pg_stat_activity where query = $1`,
    [`listen "${fresh.schema}"`],
  );
  expect(rowCount).toBe(1);
  await ears.until(({ kind }) => kind === 'resync');
  one.signals.announce({ kind: 'work', source: 'after' });
  await ears.until((signal) => signal.kind === 'work' && signal.source === 'after');
});

test('a listener that throws keeps nobody else from hearing', async () => {
  const store = fresh.store();
  store.signals.listen(() => {
    throw new Error('broken');
  });
  const ears = hear(store);
  store.signals.announce({ kind: 'work', source: 'job' });
  await ears.until(({ kind }) => kind === 'work');
});
