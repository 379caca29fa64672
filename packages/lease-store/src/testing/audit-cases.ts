import assert from 'node:assert/strict';
import type { AuditDraft } from '../audit-store.ts';
import { storeLimits } from '../store-limits.ts';
import type { StoreCase } from './compliance-case.ts';
import { rejectsWith, sampleContext as context } from './store-samples.ts';

function sampleLine(changes: Partial<AuditDraft> = {}): AuditDraft {
  return {
    who: 'user:ada',
    credential: 'test',
    address: '::1',
    action: 'agent.disable',
    subject: 'agent:a1',
    ...changes,
  };
}

/** What every audit does. */
export const auditStoreCases: readonly StoreCase[] = [
  {
    name: 'keeps lines of the audit as they were written, newest first, in pages',
    async run({ store }) {
      const before = { enabled: true, nested: { list: [1, 'two', null] } };
      await store.audit.append([sampleLine({ before, after: { enabled: false } })], context);
      await store.audit.append([sampleLine({ subject: 'agent:a2' }), sampleLine({ subject: 'agent:a3' })], context);
      const first = await store.audit.entries({ limit: 2 }, context);
      assert.deepEqual(
        first.map(({ subject }) => subject),
        ['agent:a3', 'agent:a2'],
      );
      const [last, ...none] = await store.audit.entries({ limit: 2, before: first[1]!.entryId }, context);
      assert.deepEqual(none, []);
      const { entryId: _, atMs, ...rest } = last!;
      assert.ok(atMs > 0);
      assert.deepEqual(rest, sampleLine({ before, after: { enabled: false } }));
    },
  },
  {
    name: 'finds lines of the audit by who, what and when',
    async run({ store }) {
      await store.audit.append(
        [
          sampleLine(),
          sampleLine({ who: 'service:ada' }),
          sampleLine({ who: 'user:bob', action: 'agent.enable' }),
          sampleLine({ who: 'user:bob', action: 'agentless', subject: 'pool:gpu' }),
        ],
        context,
      );
      const count = async (query: object) => (await store.audit.entries({ limit: 10, ...query }, context)).length;
      assert.equal(await count({ who: 'ada' }), 2);
      assert.equal(await count({ who: 'user:ada' }), 1);
      assert.equal(await count({ who: 'ad' }), 0);
      assert.equal(await count({ action: 'agent' }), 3);
      assert.equal(await count({ action: 'agent.enable' }), 1);
      assert.equal(await count({ subject: 'pool' }), 1);
      assert.equal(await count({ subject: 'agent:a1', who: 'bob' }), 1);
      const [newest] = await store.audit.entries({ limit: 1 }, context);
      assert.equal(await count({ sinceMs: newest!.atMs + 1 }), 0);
      assert.equal(await count({ sinceMs: newest!.atMs - 60_000 }), 4);
      assert.equal(await count({ untilMs: newest!.atMs - 60_000 }), 0);
    },
  },
  {
    name: 'says of a record that is too large for the audit only how large it is',
    async run({ store }) {
      const after = { text: 'x'.repeat(storeLimits.auditRecordBytesMax), nul: '\0' };
      await store.audit.append([sampleLine({ after, before: { nul: '\0' } })], context);
      const [line] = await store.audit.entries({ limit: 1 }, context);
      assert.ok(Number(line?.after?.['tooLargeBytes']) > storeLimits.auditRecordBytesMax);
      assert.deepEqual(line?.before, { nul: '\ufffd' });
    },
  },
  {
    name: 'refuses lines of the audit that are not right, and questions',
    async run({ store }) {
      await rejectsWith(store.audit.append([sampleLine(), sampleLine({ who: '' })], context), 'STORE_INPUT_INVALID');
      assert.deepEqual(await store.audit.entries({ limit: 1 }, context), []);
      await rejectsWith(store.audit.entries({ limit: 0 }, context), 'STORE_INPUT_INVALID');
      await rejectsWith(store.audit.entries({ limit: 1, before: 'x' }, context), 'STORE_INPUT_INVALID');
    },
  },
];
