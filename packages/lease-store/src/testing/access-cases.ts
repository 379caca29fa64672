import assert from 'node:assert/strict';
import { createHash, randomUUID } from 'node:crypto';
import type { TokenDraft } from '../access-store.ts';
import type { Change } from '../change.ts';
import type { StoreContext } from '../store-context.ts';
import type { StoreSignal } from '../store-signals.ts';
import { storeLimits } from '../store-limits.ts';
import type { StoreCase } from './compliance-case.ts';
import { rejectsWith, sampleContext as context } from './store-samples.ts';

function sampleToken(changes: Partial<TokenDraft> = {}): TokenDraft {
  const hash = createHash('sha256').update(randomUUID()).digest();
  return { tokenId: randomUUID(), hash, user: 'ci', role: 'submitter', pools: [], comment: '', ...changes };
}

/** A context of a person's change, and whether the store has written of it. */
function sampleChange(action: string): StoreContext & { readonly wrote: () => number } {
  let wrote = 0;
  const change: Change = {
    action,
    address: '192.0.2.7',
    credential: 'development',
    note: () => assert.fail('a store says nothing of its own'),
    wroteNote: () => (wrote += 1),
  };
  return { principal: { kind: 'user', id: 'ada' }, change, wrote: () => wrote };
}

/** What every store of tokens does. */
export const accessStoreCases: readonly StoreCase[] = [
  {
    name: 'finds a token by its hash alone, and lists it without',
    async run({ store }) {
      const draft = sampleToken({ pools: ['linux', 'gpu'], comment: 'the build', lifetimeMs: 60_000 });
      const created = await store.access.createToken(draft, context);
      const { hash, lifetimeMs, ...rest } = draft;
      const { createdAtMs, expiresAtMs, ...shown } = created;
      assert.deepEqual(shown, { ...rest, createdBy: 'service:compliance' });
      assert.equal(expiresAtMs! - createdAtMs, lifetimeMs);
      const used = await store.access.useToken(hash, context);
      assert.equal(used?.tokenId, draft.tokenId);
      assert.ok(used?.usedAtMs !== undefined);
      assert.deepEqual(await store.access.tokens({ limit: 10 }, context), [used]);
      assert.equal(await store.access.useToken(sampleToken().hash, context), undefined);
      await rejectsWith(store.access.createToken(draft, context), 'TOKEN_EXISTS');
      await rejectsWith(store.access.createToken(sampleToken({ hash }), context), 'TOKEN_EXISTS');
    },
  },
  {
    name: 'remembers the use of a token once an hour',
    async run({ store, elapse }) {
      const draft = sampleToken();
      await store.access.createToken(draft, context);
      const first = await store.access.useToken(draft.hash, context);
      await elapse(storeLimits.tokenUseMs / 2);
      const again = await store.access.useToken(draft.hash, context);
      // A store that moves the past has moved both.
      assert.equal(again!.usedAtMs! - again!.createdAtMs, first!.usedAtMs! - first!.createdAtMs);
      await elapse(storeLimits.tokenUseMs);
      const later = await store.access.useToken(draft.hash, context);
      assert.ok(later!.usedAtMs! - later!.createdAtMs > storeLimits.tokenUseMs);
    },
  },
  {
    name: 'revokes a token once, by a prefix of its id, and says so',
    async run({ store }) {
      const draft = sampleToken({ tokenId: randomUUID().replace(/^.{8}/, 'abcd1234') });
      const other = sampleToken({ tokenId: randomUUID().replace(/^.{8}/, 'abcd5678') });
      for (const one of [draft, other]) await store.access.createToken(one, context);
      const heard = Promise.withResolvers<StoreSignal>();
      const stop = store.signals.listen((signal) => heard.resolve(signal));
      await rejectsWith(store.access.revokeToken('abcd', context), 'TOKEN_ID_AMBIGUOUS');
      await rejectsWith(store.access.revokeToken('abc', context), 'STORE_INPUT_INVALID');
      await rejectsWith(store.access.revokeToken('ffff0000', context), 'TOKEN_NOT_FOUND');
      const revoked = await store.access.revokeToken('abcd12', context);
      assert.ok(revoked.revokedAtMs !== undefined);
      assert.deepEqual(await heard.promise, { kind: 'token', tokenId: draft.tokenId });
      stop();
      assert.deepEqual(await store.access.revokeToken(draft.tokenId, context), revoked);
      assert.equal((await store.access.useToken(draft.hash, context))?.revokedAtMs, revoked.revokedAtMs);
      const ids = async (ended: boolean) =>
        (await store.access.tokens({ limit: 10, ended }, context)).map(({ tokenId }) => tokenId);
      assert.deepEqual(await ids(false), [other.tokenId]);
      assert.deepEqual(new Set(await ids(true)), new Set([draft.tokenId, other.tokenId]));
    },
  },
  {
    name: 'lists tokens in pages, without those that expired',
    async run({ store, elapse }) {
      const drafts = [sampleToken(), sampleToken({ lifetimeMs: 1_000 }), sampleToken(), sampleToken()];
      for (const draft of drafts) {
        await store.access.createToken(draft, context);
        await elapse(10);
      }
      await elapse(2_000);
      const first = await store.access.tokens({ limit: 2 }, context);
      const second = await store.access.tokens({ limit: 2, before: first[1]!.tokenId }, context);
      const ids = [...first, ...second].map(({ tokenId }) => tokenId);
      assert.deepEqual(ids, [drafts[3]!.tokenId, drafts[2]!.tokenId, drafts[0]!.tokenId]);
    },
  },
  {
    name: 'writes the audit of a token with it, without its hash',
    async run({ store }) {
      const create = sampleChange('token.create');
      const draft = sampleToken({ pools: ['gpu'] });
      const created = await store.access.createToken(draft, create);
      const revoke = sampleChange('token.revoke');
      await store.access.revokeToken(draft.tokenId, revoke);
      await store.access.revokeToken(draft.tokenId, revoke);
      assert.deepEqual([create.wrote(), revoke.wrote()], [1, 1]);
      const lines = await store.audit.entries({ limit: 10 }, context);
      const subject = `token:${draft.tokenId}`;
      const common = { who: 'user:ada', credential: 'development', address: '192.0.2.7', subject };
      assert.deepEqual(
        lines.map(({ entryId: _, atMs: __, ...line }) => line),
        [
          { ...common, action: 'token.revoke', before: { ...created } },
          { ...common, action: 'token.create', after: { ...created } },
        ],
      );
      assert.ok(!JSON.stringify(lines).includes(Buffer.from(draft.hash).toString('hex')));
    },
  },
  {
    name: 'refuses tokens that are not right',
    async run({ store }) {
      for (const wrong of [{ tokenId: 'x' }, { hash: new Uint8Array(31) }, { user: '' }, { lifetimeMs: 0 }]) {
        await rejectsWith(store.access.createToken(sampleToken(wrong), context), 'STORE_INPUT_INVALID');
      }
      const pools = Array.from({ length: storeLimits.tokenPoolsMax + 1 }, (_, index) => `p${index}`);
      await rejectsWith(store.access.createToken(sampleToken({ pools }), context), 'STORE_CALL_TOO_LARGE');
    },
  },
];
