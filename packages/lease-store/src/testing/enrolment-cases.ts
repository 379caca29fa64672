import assert from 'node:assert/strict';
import type { DroverStore } from '../drover-store.ts';
import { enrolmentLimits, type EnrolmentApplication, type EnrolmentTokenDraft } from '../enrolment-store.ts';
import type { StoreCase } from './compliance-case.ts';
import { rejectsWith, sampleContext as context, sampleSession } from './store-samples.ts';

const minute = 60_000;
const hash = (digit: string): string => digit.repeat(64);
/** What a thumbprint looks like. */
const thumbprint = (letter: string): string => letter.repeat(43);

function draft(changes: Partial<EnrolmentTokenDraft> = {}): EnrolmentTokenDraft {
  return {
    tokenId: 't1',
    secretHash: hash('a'),
    note: '',
    validMs: 10 * minute,
    usesMax: 1,
    pools: [],
    mayReplace: false,
    ...changes,
  };
}

function application(agentId: string, key: string, changes: Partial<EnrolmentApplication> = {}): EnrolmentApplication {
  return { agentId, keyThumbprint: thumbprint(key), name: 'box', address: '127.0.0.1', pools: [], ...changes };
}

const token = (tokenId = 't1', digit = 'a') => ({ token: { tokenId, secretHash: hash(digit) } });

async function enrolled(store: DroverStore, agentId: string, key: string, tokenId = 't1') {
  const outcome = await store.enrolments.apply(application(agentId, key, token(tokenId)), context);
  assert.equal(outcome.kind, 'enrolled');
  return outcome.enrolment;
}

/** What every store of enrolments does. */
export const enrolmentStoreCases: readonly StoreCase[] = [
  {
    name: 'says of an agent to which pools its enrolment binds it',
    async run({ store }) {
      await store.enrolments.createToken(draft({ usesMax: 2, pools: ['gpu', 'fast'] }), context);
      await store.enrolments.createToken(draft({ tokenId: 't2', secretHash: hash('b') }), context);
      await enrolled(store, 'bound', 'A');
      await store.enrolments.apply(application('free', 'B', token('t2', 'b')), context);
      for (const agentId of ['bound', 'free', 'unknown']) await sampleSession(store, agentId);
      const agents = await store.sessions.agents({ limit: 10 }, context);
      assert.deepEqual(
        agents.map(({ agentId, poolsAllowed }) => [agentId, poolsAllowed]),
        [
          ['bound', ['gpu', 'fast']],
          ['free', undefined],
          ['unknown', undefined],
        ],
      );
      assert.deepEqual((await store.sessions.agent('bound', context)).poolsAllowed, ['gpu', 'fast']);
    },
  },
  {
    name: 'enrols as many machines with a token as it may, and a machine that is enrolled uses none',
    async run({ store }) {
      const { enrolments } = store;
      const made = await enrolments.createToken(draft({ usesMax: 2, pools: ['gpu'], note: 'rack 4' }), context);
      assert.deepEqual(
        [made.uses, made.createdBy, made.expiresAtMs - made.createdAtMs],
        [0, 'service:compliance', 10 * minute],
      );
      const first = await enrolled(store, 'a1', 'A');
      assert.deepEqual([first.generation, first.state, first.tokenId, first.pools], [1, 'enrolled', 't1', ['gpu']]);
      const again = await enrolments.apply(application('a1', 'A', token()), context);
      assert.equal(again.kind === 'enrolled' && again.isNew, false);
      await enrolled(store, 'a2', 'B');
      await rejectsWith(enrolments.apply(application('a3', 'C', token()), context), 'ENROLMENT_TOKEN_USED');
      assert.deepEqual(
        (await enrolments.tokens({ limit: 10 }, context)).map(({ uses }) => uses),
        [2],
      );
      assert.equal((await enrolments.enrolmentOfKey(thumbprint('B'), context))?.agentId, 'a2');
      assert.deepEqual(
        (await enrolments.enrolments(['a2', 'none', 'a1'], context)).map(({ agentId }) => agentId).sort(),
        ['a1', 'a2'],
      );
    },
  },
  {
    name: 'refuses tokens that are unknown, wrong, expired or revoked, and pools that one does not allow',
    async run({ store, elapse }) {
      const { enrolments } = store;
      await enrolments.createToken(draft({ pools: ['GPU'] }), context);
      await enrolments.createToken(draft({ tokenId: 't2', validMs: 60 * minute }), context);
      const refused = (changes: Partial<EnrolmentApplication>, code: string) =>
        rejectsWith(enrolments.apply(application('a1', 'A', changes), context), code);
      await refused(token('t9'), 'ENROLMENT_TOKEN_INVALID');
      await refused(token('t1', 'b'), 'ENROLMENT_TOKEN_INVALID');
      await refused({ ...token(), pools: ['gpu', 'secret'] }, 'POOL_NOT_ALLOWED');
      const revoked = await enrolments.revokeToken('t2', context);
      assert.deepEqual(await enrolments.revokeToken('t2', context), revoked);
      await refused(token('t2'), 'ENROLMENT_TOKEN_REVOKED');
      await rejectsWith(enrolments.revokeToken('t9', context), 'ENROLMENT_TOKEN_NOT_FOUND');
      await elapse(11 * minute);
      await refused(token(), 'ENROLMENT_TOKEN_EXPIRED');
      // Nothing of this used the token or enrolled anybody.
      assert.deepEqual(
        (await enrolments.tokens({ limit: 1 }, context)).map(({ uses }) => uses),
        [0],
      );
      assert.deepEqual(
        (await enrolments.tokens({ after: 't1', limit: 9 }, context)).map(({ tokenId }) => tokenId),
        ['t2'],
      );
      assert.deepEqual(await enrolments.enrolments(['a1'], context), []);
    },
  },
  {
    name: 'gives an id to another key only with a token that may replace it, and locks the first one out',
    async run({ store }) {
      const { enrolments } = store;
      await enrolments.createToken(draft({ usesMax: 5 }), context);
      await enrolments.createToken(draft({ tokenId: 't2', mayReplace: true }), context);
      await enrolled(store, 'a1', 'A');
      await rejectsWith(enrolments.apply(application('a1', 'B', token()), context), 'AGENT_ID_TAKEN');
      await rejectsWith(enrolments.apply(application('a2', 'A', token()), context), 'AGENT_KEY_TAKEN');
      const replaced = await enrolled(store, 'a1', 'B', 't2');
      assert.deepEqual([replaced.generation, replaced.keyThumbprint], [2, thumbprint('B')]);
      assert.equal(await enrolments.enrolmentOfKey(thumbprint('A'), context), undefined);
    },
  },
  {
    name: 'lets machines wait until somebody approves or rejects them, and forgets those that ask no more',
    async run({ store, elapse }) {
      const { enrolments } = store;
      for (const [id, key] of [
        ['a1', 'A'],
        ['a1', 'B'],
        ['a2', 'C'],
        ['a3', 'D'],
      ] as const) {
        assert.deepEqual(await enrolments.apply(application(id, key), context), { kind: 'pending' });
      }
      assert.deepEqual(await enrolments.apply(application('a1', 'A'), context), { kind: 'pending' });
      const first = await enrolments.pending({ limit: 2 }, context);
      assert.deepEqual(
        first.map(({ agentId, replaces }) => [agentId, replaces]),
        [
          ['a1', false],
          ['a1', false],
        ],
      );
      const rest = await enrolments.pending({ after: first[1]!, limit: 9 }, context);
      assert.deepEqual(
        rest.map(({ agentId }) => agentId),
        ['a2', 'a3'],
      );
      await rejectsWith(enrolments.approve({ agentId: 'a1', pools: [] }, context), 'ENROLMENT_AMBIGUOUS');
      const record = await enrolments.approve({ agentId: 'a1', keyThumbprint: thumbprint('B'), pools: ['p'] }, context);
      assert.deepEqual([record.decidedBy, record.pools, record.tokenId], ['service:compliance', ['p'], undefined]);
      // The other one lost the id, and asks to replace it.
      await enrolments.apply(application('a1', 'A'), context);
      assert.deepEqual(
        (await enrolments.pending({ limit: 1 }, context)).map(({ replaces }) => replaces),
        [true],
      );
      // Its new machine is bound as the one before was, unless the operator says otherwise.
      const replaced = await enrolments.approve({ agentId: 'a1', pools: [] }, context);
      assert.deepEqual([replaced.generation, replaced.pools], [2, ['p']]);
      await enrolments.apply(application('a1', 'B'), context);
      const moved = await enrolments.approve({ agentId: 'a1', pools: ['q'] }, context);
      assert.deepEqual([moved.generation, moved.pools], [3, ['q']]);
      await enrolments.reject({ agentId: 'a2' }, context);
      await rejectsWith(enrolments.apply(application('a2', 'C'), context), 'ENROLMENT_REJECTED');
      await rejectsWith(enrolments.reject({ agentId: 'a2' }, context), 'ENROLMENT_NOT_PENDING');
      await rejectsWith(enrolments.approve({ agentId: 'a2', pools: [] }, context), 'ENROLMENT_NOT_PENDING');
      await elapse(enrolmentLimits.rejectedMs + 1_000);
      assert.deepEqual(await enrolments.apply(application('a2', 'C'), context), { kind: 'pending' });
      await elapse(enrolmentLimits.pendingMs + 1_000);
      assert.deepEqual(await enrolments.pending({ limit: 9 }, context), []);
    },
  },
  {
    name: 'bounds the machines that wait for one id, and input',
    async run({ store }) {
      const { enrolments } = store;
      for (const key of 'ABCDEFGH') await enrolments.apply(application('a1', key), context);
      await rejectsWith(enrolments.apply(application('a1', 'I'), context), 'ENROLMENTS_FULL');
      await enrolments.apply(application('a1', 'H'), context);
      await rejectsWith(enrolments.apply(application('two words', 'A'), context), 'STORE_INPUT_INVALID');
      await rejectsWith(
        enrolments.apply({ ...application('a2', 'A'), keyThumbprint: 'x' }, context),
        'STORE_INPUT_INVALID',
      );
      await rejectsWith(enrolments.createToken(draft({ validMs: 1 }), context), 'STORE_INPUT_INVALID');
      await rejectsWith(enrolments.createToken(draft({ usesMax: 0 }), context), 'STORE_INPUT_INVALID');
      await rejectsWith(enrolments.createToken(draft({ tokenId: 'a b' }), context), 'STORE_INPUT_INVALID');
    },
  },
  {
    name: 'revokes an agent, keeps its key out, and gives it back when an operator says so',
    async run({ store }) {
      const { enrolments } = store;
      await enrolments.createToken(draft({ usesMax: 5, mayReplace: true, pools: ['p'] }), context);
      await enrolled(store, 'a1', 'A');
      await enrolments.recordCredential('a1', 1, minute, context);
      await enrolments.recordCredential('a1', 7, 60 * minute, context);
      const [before] = await enrolments.enrolments(['a1'], context);
      assert.equal(Math.round((before!.credentialExpiresAtMs! - before!.enrolledAtMs) / minute), 1);
      const revoked = await enrolments.revoke('a1', context);
      assert.deepEqual([revoked.state, revoked.generation], ['revoked', 2]);
      assert.deepEqual(await enrolments.revoke('a1', context), revoked);
      await rejectsWith(enrolments.apply(application('a1', 'A', token()), context), 'AGENT_REVOKED');
      await rejectsWith(enrolments.apply(application('a1', 'A'), context), 'AGENT_REVOKED');
      await rejectsWith(enrolments.revoke('none', context), 'ENROLMENT_NOT_FOUND');
      // Somebody else asks for the id: whoever means the old machine must not let that one in.
      await enrolments.apply(application('a1', 'X'), context);
      await rejectsWith(enrolments.approve({ agentId: 'a1', pools: [] }, context), 'ENROLMENT_AMBIGUOUS');
      await enrolments.reject({ agentId: 'a1' }, context);
      const back = await enrolments.approve({ agentId: 'a1', pools: [] }, context);
      assert.deepEqual([back.state, back.generation, back.pools, back.revokedAtMs], ['enrolled', 3, ['p'], undefined]);
      await rejectsWith(enrolments.approve({ agentId: 'a1', pools: [] }, context), 'ENROLMENT_NOT_PENDING');
    },
  },
  {
    name: 'keeps the keys of credentials until they expire, and adds no second one at once',
    async run({ store, elapse }) {
      const { enrolments } = store;
      const key = (keyId: string) => ({ keyId, publicKey: '{}', sealedPrivateKey: 'x', validMs: 10 * minute });
      const ids = (keys: readonly { readonly keyId: string }[]) => keys.map(({ keyId }) => keyId);
      const both = await Promise.all([
        enrolments.addCredentialKey(key('k1'), minute, context),
        enrolments.addCredentialKey(key('k2'), minute, context),
      ]);
      assert.equal(new Set(both.flatMap(ids)).size, 1);
      await elapse(2 * minute);
      assert.equal((await enrolments.addCredentialKey(key('k3'), minute, context))[0]?.keyId, 'k3');
      await elapse(9 * minute);
      assert.deepEqual(ids(await enrolments.credentialKeys(context)), ['k3']);
    },
  },
];
