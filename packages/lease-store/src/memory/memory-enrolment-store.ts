import { principalName } from '@drover/lease-kit';
import {
  checkAgentId,
  checkApplication,
  checkKeyThumbprint,
  checkPageLimit,
  checkPoolNames,
  checkEnrolmentTokenDraft,
} from '../check-enrolment-input.ts';
import { checkCount } from '../check-store-input.ts';
import { boundTo, decideApplication } from '../enrolment-decision.ts';
import {
  agentKeyTaken,
  checkOneIsMeant,
  enrolmentAmbiguous,
  enrolmentNotFound,
  enrolmentNotPending,
  enrolmentTokenNotFound,
  enrolmentTokensFull,
  enrolmentsFull,
} from '../enrolment-errors.ts';
import {
  enrolmentLimits,
  type CredentialKeyRecord,
  type EnrolmentApplication,
  type EnrolmentRecord,
  type EnrolmentStore,
  type EnrolmentTokenRecord,
} from '../enrolment-store.ts';
import type { StoreContext } from '../store-context.ts';
import { storeLimits } from '../store-limits.ts';
import type { MemoryAudit } from './memory-audit-store.ts';
import type { MemoryData } from './memory-data.ts';

interface MemoryApplication {
  readonly application: EnrolmentApplication;
  readonly requestedAtMs: number;
  askedAtMs: number;
  isRejected: boolean;
}

/** The enrolments of a memory store. */
export function memoryEnrolmentStore(data: MemoryData, audit: MemoryAudit): EnrolmentStore {
  const tokens = new Map<string, { record: EnrolmentTokenRecord; readonly secretHash: string }>();
  const enrolments = new Map<string, EnrolmentRecord>();
  data.poolsAllowedOf = (agentId) => enrolments.get(agentId)?.pools ?? [];
  /** By agent id and key. */
  const applications = new Map<string, MemoryApplication>();
  let keys: readonly CredentialKeyRecord[] = [];
  const now = (): number => data.clock.wallMs();
  const keyOf = (agentId: string, thumbprint: string): string => `${agentId} ${thumbprint}`;

  const forgetOld = (): void => {
    for (const [key, { askedAtMs, isRejected }] of applications) {
      if (askedAtMs + (isRejected ? enrolmentLimits.rejectedMs : enrolmentLimits.pendingMs) <= now()) {
        applications.delete(key);
      }
    }
    for (const [id, { record }] of tokens) {
      if (record.expiresAtMs + enrolmentLimits.tokenKeptMs <= now()) tokens.delete(id);
    }
  };
  const ownerOf = (thumbprint: string): EnrolmentRecord | undefined =>
    [...enrolments.values()].find(({ keyThumbprint }) => keyThumbprint === thumbprint);
  const enrol = (
    of: { readonly agentId: string; readonly keyThumbprint: string },
    pools: readonly string[],
    by: { readonly tokenId?: string; readonly decidedBy?: string },
  ): EnrolmentRecord => {
    const before = enrolments.get(of.agentId);
    if (before === undefined && enrolments.size >= enrolmentLimits.enrolmentsMax) {
      throw enrolmentsFull('agents are enrolled', enrolmentLimits.enrolmentsMax);
    }
    const record: EnrolmentRecord = {
      agentId: of.agentId,
      state: 'enrolled',
      generation: (before?.generation ?? 0) + 1,
      keyThumbprint: of.keyThumbprint,
      enrolledAtMs: now(),
      pools: [...pools],
      ...by,
    };
    enrolments.set(of.agentId, record);
    for (const [key, { application }] of applications) if (application.agentId === of.agentId) applications.delete(key);
    return record;
  };
  const waiting = (agentId: string, thumbprint: string | undefined): MemoryApplication | undefined => {
    const found = [...applications.values()].filter(
      ({ application, isRejected }) =>
        !isRejected &&
        application.agentId === agentId &&
        (thumbprint === undefined || application.keyThumbprint === thumbprint),
    );
    if (found.length > 1) {
      throw enrolmentAmbiguous(
        agentId,
        found.map(({ application }) => application.keyThumbprint),
      );
    }
    return found[0];
  };

  const approved = (
    before: EnrolmentRecord | undefined,
    after: EnrolmentRecord,
    context: StoreContext,
  ): EnrolmentRecord => {
    const change = { ...(before === undefined ? {} : { before: { ...before } }), after: { ...after } };
    audit.write(context, { subject: `agent:${after.agentId}`, ...change });
    return after;
  };

  return {
    createToken: async (draft, context) => {
      data.enter(context);
      checkEnrolmentTokenDraft(draft);
      forgetOld();
      const live = [...tokens.values()].filter(({ record }) => record.expiresAtMs > now());
      if (live.length >= enrolmentLimits.tokensMax) throw enrolmentTokensFull(enrolmentLimits.tokensMax);
      const { secretHash, validMs, ...told } = draft;
      const createdAtMs = now();
      const record: EnrolmentTokenRecord = {
        ...told,
        createdAtMs,
        createdBy: principalName(context.principal),
        expiresAtMs: createdAtMs + validMs,
        uses: 0,
      };
      tokens.set(draft.tokenId, { record, secretHash });
      audit.write(context, { subject: `enrolment-token:${record.tokenId}`, after: { ...record } });
      return record;
    },
    tokens: async ({ after = '', limit }, context) => {
      data.enter(context);
      checkPageLimit(limit);
      forgetOld();
      const records = [...tokens.values()].map(({ record }) => record).filter(({ tokenId }) => tokenId > after);
      return records.sort((a, b) => (a.tokenId < b.tokenId ? -1 : 1)).slice(0, limit);
    },
    revokeToken: async (tokenId, context) => {
      data.enter(context);
      const token = tokens.get(tokenId);
      if (token === undefined) throw enrolmentTokenNotFound(tokenId);
      audit.write(context, { subject: `enrolment-token:${tokenId}`, before: { ...token.record } });
      token.record = { ...token.record, revokedAtMs: token.record.revokedAtMs ?? now() };
      return token.record;
    },
    apply: async (application, context) => {
      data.enter(context);
      checkApplication(application);
      forgetOld();
      const { agentId, keyThumbprint, token: shown } = application;
      const enrolment = enrolments.get(agentId);
      const token = shown === undefined ? undefined : tokens.get(shown.tokenId);
      const place = keyOf(agentId, keyThumbprint);
      const known = applications.get(place);
      const decision = decideApplication(application, {
        enrolment,
        keyOwner: ownerOf(keyThumbprint)?.agentId,
        token: token && { record: token.record, isRight: token.secretHash === shown?.secretHash },
        isRejected: known?.isRejected ?? false,
        nowMs: now(),
      });
      if (decision.kind === 'known') return { kind: 'enrolled', enrolment: enrolment!, isNew: false };
      if (decision.kind === 'enrol') {
        token!.record = { ...token!.record, uses: token!.record.uses + 1 };
        const { tokenId } = token!.record;
        return { kind: 'enrolled', enrolment: enrol(application, decision.pools, { tokenId }), isNew: true };
      }
      if (known !== undefined) {
        known.askedAtMs = now();
        return { kind: 'pending' };
      }
      const pending = [...applications.values()].filter(({ isRejected }) => !isRejected);
      if (pending.length >= enrolmentLimits.pendingMax) {
        throw enrolmentsFull('machines wait for approval', enrolmentLimits.pendingMax);
      }
      if (pending.filter((one) => one.application.agentId === agentId).length >= enrolmentLimits.pendingPerIdMax) {
        throw enrolmentsFull(`machines wait to be agent ${agentId}`, enrolmentLimits.pendingPerIdMax);
      }
      applications.set(place, { application, requestedAtMs: now(), askedAtMs: now(), isRejected: false });
      return { kind: 'pending' };
    },
    pending: async ({ after, limit }, context) => {
      data.enter(context);
      checkPageLimit(limit);
      forgetOld();
      const from = after === undefined ? '' : keyOf(after.agentId, after.keyThumbprint);
      return [...applications]
        .filter(([place, { isRejected }]) => !isRejected && place > from)
        .sort(([a], [b]) => (a < b ? -1 : 1))
        .slice(0, limit)
        .map(([, { application, requestedAtMs }]) => {
          const { token: _, ...told } = application;
          return { ...told, requestedAtMs, replaces: enrolments.has(told.agentId) };
        });
    },
    approve: async ({ agentId, keyThumbprint, pools }, context) => {
      data.enter(context);
      checkAgentId('agentId', agentId);
      if (keyThumbprint !== undefined) checkKeyThumbprint('keyThumbprint', keyThumbprint);
      checkPoolNames('pools', pools);
      forgetOld();
      const decidedBy = principalName(context.principal);
      const found = waiting(agentId, keyThumbprint);
      if (found !== undefined) {
        checkOneIsMeant(found.application, keyThumbprint, enrolments.get(agentId));
        const owner = ownerOf(found.application.keyThumbprint);
        if (owner !== undefined && owner.agentId !== agentId) throw agentKeyTaken(agentId, owner.agentId);
        const earlier = enrolments.get(agentId);
        return approved(earlier, enrol(found.application, boundTo(pools, earlier), { decidedBy }), context);
      }
      const before = enrolments.get(agentId);
      const isMeant = keyThumbprint === undefined || keyThumbprint === before?.keyThumbprint;
      if (before?.state !== 'revoked' || !isMeant) throw enrolmentNotPending(agentId);
      return approved(before, enrol(before, boundTo(pools, before), { decidedBy }), context);
    },
    reject: async ({ agentId, keyThumbprint }, context) => {
      data.enter(context);
      forgetOld();
      const found = waiting(agentId, keyThumbprint);
      if (found === undefined) throw enrolmentNotPending(agentId);
      found.isRejected = true;
      audit.write(context, { subject: `agent:${agentId}`, before: { keyThumbprint: found.application.keyThumbprint } });
      found.askedAtMs = now();
    },
    revoke: async (agentId, context) => {
      data.enter(context);
      const before = enrolments.get(agentId);
      if (before === undefined) throw enrolmentNotFound(agentId);
      if (before.state === 'revoked') return before;
      const { generation } = before;
      const decidedBy = principalName(context.principal);
      const record = {
        ...before,
        state: 'revoked',
        generation: generation + 1,
        revokedAtMs: now(),
        decidedBy,
      } as const;
      enrolments.set(agentId, record);
      audit.write(context, { subject: `agent:${agentId}`, before: { ...before }, after: { ...record } });
      return record;
    },
    enrolments: async (agentIds, context) => {
      data.enter(context);
      checkCount('agentIds', agentIds.length, storeLimits.pageMax);
      return [...new Set(agentIds)].flatMap((agentId) => enrolments.get(agentId) ?? []);
    },
    enrolmentOfKey: async (keyThumbprint, context) => {
      data.enter(context);
      return ownerOf(keyThumbprint);
    },
    recordCredential: async (agentId, generation, validMs, context) => {
      data.enter(context);
      const record = enrolments.get(agentId);
      if (record?.generation !== generation) return;
      enrolments.set(agentId, { ...record, credentialExpiresAtMs: now() + validMs });
    },
    credentialKeys: async (context) => {
      data.enter(context);
      return (keys = keys.filter(({ expiresAtMs }) => expiresAtMs > now()));
    },
    addCredentialKey: async ({ validMs, ...key }, unlessYoungerMs, context) => {
      data.enter(context);
      keys = keys.filter(({ expiresAtMs }) => expiresAtMs > now());
      if (keys.some(({ createdAtMs }) => createdAtMs > now() - unlessYoungerMs)) return keys;
      keys = [{ ...key, createdAtMs: now(), expiresAtMs: now() + validMs }, ...keys];
      return (keys = keys.slice(0, enrolmentLimits.credentialKeysMax));
    },
  };
}
