import { principalName } from '@drover/lease-kit';
import {
  agentKeyTaken,
  checkAgentId,
  checkApplication,
  checkCount,
  checkKeyThumbprint,
  checkPageLimit,
  checkOneIsMeant,
  checkPoolNames,
  checkEnrolmentTokenDraft,
  boundTo,
  decideApplication,
  enrolmentAmbiguous,
  enrolmentLimits,
  enrolmentNotFound,
  enrolmentNotPending,
  enrolmentTokenNotFound,
  enrolmentTokensFull,
  enrolmentsFull,
  storeLimits,
  type ApplicationOutcome,
  type EnrolmentApplication,
  type EnrolmentRecord,
  type EnrolmentStore,
  type StoreContext,
} from '@drover/lease-store';
import type { AuditLines } from './audit-lines.ts';
import {
  credentialKeyRecord,
  enrolmentColumns,
  enrolmentRecord,
  pendingRecord,
  requestIsFresh,
  tokenRecord,
  type CredentialKeyRow,
  type EnrolmentRow,
  type RequestRow,
  type TokenRow,
} from './enrolment-records.ts';
import type { Session } from './internal/database.ts';
import { textArray } from './internal/sql-array.ts';

/** How the store runs a call, in a transaction or not. */
export type RunInStore = <Result>(
  context: StoreContext,
  work: (session: Session) => Promise<Result>,
) => Promise<Result>;

/** What {@link postgresEnrolments} is made of. */
export interface EnrolmentsDeps {
  readonly call: RunInStore;
  readonly transaction: RunInStore;
  readonly audit: AuditLines;
}

/**
 * Enrolments in Postgres. All changes of enrolments go one after another, under one lock that ends with the transaction: they
 * are rare, and bounds are then counted without a race.
 */
export function postgresEnrolments(s: string, { call, transaction, audit }: EnrolmentsDeps): EnrolmentStore {
  const { token: tokenColumns, enrolment: columns, request: requestColumns, key: keyColumns } = enrolmentColumns;
  const locked: RunInStore = (context, work) =>
    transaction(context, async (session) => {
      await session.text(`select pg_advisory_xact_lock(hashtextextended($1, 0))`, [`${s} enrolment`]);
      return work(session);
    });
  const enrolmentOf = async (session: Session, where: string, value: string): Promise<EnrolmentRecord | undefined> => {
    const [row] = await session.text<EnrolmentRow>(`select ${columns} from ${s}.enrolments e where ${where} = $1`, [
      value,
    ]);
    return row && enrolmentRecord(row);
  };
  const waiting = async (session: Session, agentId: string, thumbprint: string | undefined) => {
    const rows = await session.text<RequestRow>(
      `select ${requestColumns} from ${s}.enrolment_requests r
        where r.agent_id = $1 and ($2::text is null or r.key_thumbprint = $2) and not r.is_rejected and ${requestIsFresh}`,
      [agentId, thumbprint],
    );
    if (rows.length > 1) {
      throw enrolmentAmbiguous(
        agentId,
        rows.map((row) => row.key_thumbprint),
      );
    }
    return rows[0];
  };
  const enrol = async (
    session: Session,
    of: { readonly agentId: string; readonly keyThumbprint: string },
    pools: readonly string[],
    by: { readonly tokenId?: string | undefined; readonly decidedBy?: string | undefined },
  ): Promise<EnrolmentRecord> => {
    const { agentId, keyThumbprint } = of;
    const [row] = await session.text<EnrolmentRow>(
      `insert into ${s}.enrolments as e (agent_id, generation, key_thumbprint, token_id, decided_by, pools)
       select $1, 1, $2, $3, $4, $5::text[]
        where exists (select from ${s}.enrolments where agent_id = $1)
           or (select count(*) from ${s}.enrolments) < ${enrolmentLimits.enrolmentsMax}
       on conflict (agent_id) do update
          set generation = e.generation + 1, key_thumbprint = excluded.key_thumbprint, token_id = excluded.token_id,
              decided_by = excluded.decided_by, pools = excluded.pools, enrolled_at = now(),
              credential_expires_at = null, revoked_at = null
       returning ${columns}`,
      [agentId, keyThumbprint, by.tokenId, by.decidedBy, textArray(pools)],
    );
    if (row === undefined) throw enrolmentsFull('agents are enrolled', enrolmentLimits.enrolmentsMax);
    await session.text(`delete from ${s}.enrolment_requests where agent_id = $1`, [agentId]);
    return enrolmentRecord(row);
  };
  const apply = async (session: Session, application: EnrolmentApplication): Promise<ApplicationOutcome> => {
    const { agentId, keyThumbprint, token: shown, name, address, pools } = application;
    const [request] = await session.text<RequestRow>(
      `select ${requestColumns} from ${s}.enrolment_requests r
        where r.agent_id = $1 and r.key_thumbprint = $2 and ${requestIsFresh}`,
      [agentId, keyThumbprint],
    );
    const [token] =
      shown === undefined
        ? []
        : await session.text<TokenRow>(`select ${tokenColumns} from ${s}.enrolment_tokens t where t.token_id = $1`, [
            shown.tokenId,
          ]);
    const [{ now_ms: nowMs }] = (await session.text<{ now_ms: number }>(
      `select floor(extract(epoch from now()) * 1000)::bigint as now_ms`,
    )) as [{ now_ms: number }];
    const enrolment = await enrolmentOf(session, 'e.agent_id', agentId);
    const decision = decideApplication(application, {
      enrolment,
      keyOwner: (await enrolmentOf(session, 'e.key_thumbprint', keyThumbprint))?.agentId,
      token: token && { record: tokenRecord(token), isRight: token.secret_hash === shown?.secretHash },
      isRejected: request?.is_rejected ?? false,
      nowMs,
    });
    if (decision.kind === 'known') return { kind: 'enrolled', enrolment: enrolment!, isNew: false };
    if (decision.kind === 'enrol') {
      const { token_id: tokenId } = token!;
      await session.text(`update ${s}.enrolment_tokens set uses = uses + 1 where token_id = $1`, [tokenId]);
      return {
        kind: 'enrolled',
        enrolment: await enrol(session, application, decision.pools, { tokenId }),
        isNew: true,
      };
    }
    if (request === undefined) await checkRoom(session, agentId);
    await session.text(
      `insert into ${s}.enrolment_requests (agent_id, key_thumbprint, name, address, pools)
       values ($1, $2, $3, $4, $5::text[])
       on conflict (agent_id, key_thumbprint) do update
          set asked_at = now(), is_rejected = false, name = excluded.name, address = excluded.address, pools = excluded.pools`,
      [agentId, keyThumbprint, name, address, textArray(pools)],
    );
    return { kind: 'pending' };
  };
  const checkRoom = async (session: Session, agentId: string): Promise<void> => {
    await session.text(`delete from ${s}.enrolment_requests r where not (${requestIsFresh})`);
    const [count] = await session.text<{ all: number; same: number }>(
      `select count(*) as all, count(*) filter (where r.agent_id = $1) as same
         from ${s}.enrolment_requests r where not r.is_rejected`,
      [agentId],
    );
    const { pendingMax, pendingPerIdMax } = enrolmentLimits;
    if ((count?.all ?? 0) >= pendingMax) throw enrolmentsFull('machines wait for approval', pendingMax);
    if ((count?.same ?? 0) >= pendingPerIdMax) {
      throw enrolmentsFull(`machines wait to be agent ${agentId}`, pendingPerIdMax);
    }
  };
  const approved = async (
    session: Session,
    context: StoreContext,
    before: EnrolmentRecord | undefined,
    after: EnrolmentRecord,
  ): Promise<EnrolmentRecord> => {
    const change = { ...(before === undefined ? {} : { before: { ...before } }), after: { ...after } };
    await audit.write(session, context, { subject: `agent:${after.agentId}`, ...change });
    return after;
  };
  const keysNow = async (session: Session) => {
    const rows = await session.text<CredentialKeyRow>(
      `select ${keyColumns} from ${s}.credential_keys k where k.expires_at > now()
        order by k.created_at desc limit ${enrolmentLimits.credentialKeysMax}`,
    );
    return rows.map(credentialKeyRecord);
  };

  return {
    createToken: async (draft, context) => {
      checkEnrolmentTokenDraft(draft);
      return locked(context, async (session) => {
        await session.text(
          `delete from ${s}.enrolment_tokens where expires_at < now() - ${enrolmentLimits.tokenKeptMs} * interval '1 millisecond'`,
        );
        const [row] = await session.text<TokenRow>(
          `insert into ${s}.enrolment_tokens as t
             (token_id, expires_at, uses_max, may_replace, secret_hash, created_by, note, pools)
           select $1, now() + $2 * interval '1 millisecond', $3, $4, $5, $6, $7, $8::text[]
            where (select count(*) from ${s}.enrolment_tokens where expires_at > now()) < ${enrolmentLimits.tokensMax}
           returning ${tokenColumns}`,
          [
            draft.tokenId,
            draft.validMs,
            draft.usesMax,
            draft.mayReplace,
            draft.secretHash,
            principalName(context.principal),
            draft.note,
            textArray(draft.pools),
          ],
        );
        if (row === undefined) throw enrolmentTokensFull(enrolmentLimits.tokensMax);
        const record = tokenRecord(row);
        await audit.write(session, context, { subject: `enrolment-token:${record.tokenId}`, after: { ...record } });
        return record;
      });
    },
    tokens: async ({ after = '', limit }, context) => {
      checkPageLimit(limit);
      const rows = await call(context, (session) =>
        session.text<TokenRow>(
          `select ${tokenColumns} from ${s}.enrolment_tokens t
            where t.token_id > $1 and t.expires_at > now() - ${enrolmentLimits.tokenKeptMs} * interval '1 millisecond'
            order by t.token_id limit $2`,
          [after, limit],
        ),
      );
      return rows.map(tokenRecord);
    },
    revokeToken: async (tokenId, context) =>
      locked(context, async (session) => {
        const [row] = await session.text<TokenRow>(
          `update ${s}.enrolment_tokens t set revoked_at = coalesce(t.revoked_at, now()) where t.token_id = $1
           returning ${tokenColumns}`,
          [tokenId],
        );
        if (row === undefined) throw enrolmentTokenNotFound(tokenId);
        const record = tokenRecord(row);
        await audit.write(session, context, { subject: `enrolment-token:${tokenId}`, after: { ...record } });
        return record;
      }),
    apply: async (application, context) => {
      checkApplication(application);
      return locked(context, (session) => apply(session, application));
    },
    pending: async ({ after, limit }, context) => {
      checkPageLimit(limit);
      const rows = await call(context, (session) =>
        session.text<RequestRow & { readonly replaces: boolean }>(
          `select ${requestColumns}, exists (select from ${s}.enrolments e where e.agent_id = r.agent_id) as replaces
             from ${s}.enrolment_requests r
            where not r.is_rejected and ${requestIsFresh} and (r.agent_id, r.key_thumbprint) > ($1, $2)
            order by r.agent_id, r.key_thumbprint limit $3`,
          [after?.agentId ?? '', after?.keyThumbprint ?? '', limit],
        ),
      );
      return rows.map(pendingRecord);
    },
    approve: async ({ agentId, keyThumbprint, pools }, context) => {
      checkAgentId('agentId', agentId);
      if (keyThumbprint !== undefined) checkKeyThumbprint('keyThumbprint', keyThumbprint);
      checkPoolNames('pools', pools);
      const decidedBy = principalName(context.principal);
      return locked(context, async (session) => {
        const found = await waiting(session, agentId, keyThumbprint);
        if (found !== undefined) {
          const earlier = await enrolmentOf(session, 'e.agent_id', agentId);
          checkOneIsMeant({ agentId, keyThumbprint: found.key_thumbprint }, keyThumbprint, earlier);
          const owner = await enrolmentOf(session, 'e.key_thumbprint', found.key_thumbprint);
          if (owner !== undefined && owner.agentId !== agentId) throw agentKeyTaken(agentId, owner.agentId);
          const applicant = { agentId, keyThumbprint: found.key_thumbprint };
          const record = await enrol(session, applicant, boundTo(pools, earlier), { decidedBy });
          return approved(session, context, earlier, record);
        }
        const before = await enrolmentOf(session, 'e.agent_id', agentId);
        const isMeant = keyThumbprint === undefined || keyThumbprint === before?.keyThumbprint;
        if (before?.state !== 'revoked' || !isMeant) throw enrolmentNotPending(agentId);
        const record = await enrol(session, before, boundTo(pools, before), { decidedBy });
        return approved(session, context, before, record);
      });
    },
    reject: async ({ agentId, keyThumbprint }, context) => {
      await locked(context, async (session) => {
        const found = await waiting(session, agentId, keyThumbprint);
        if (found === undefined) throw enrolmentNotPending(agentId);
        await session.text(
          `update ${s}.enrolment_requests set is_rejected = true, asked_at = now()
            where agent_id = $1 and key_thumbprint = $2`,
          [agentId, found.key_thumbprint],
        );
        const before = { keyThumbprint: found.key_thumbprint };
        await audit.write(session, context, { subject: `agent:${agentId}`, before });
      });
    },
    revoke: async (agentId, context) =>
      locked(context, async (session) => {
        const [row] = await session.text<EnrolmentRow>(
          `update ${s}.enrolments e set revoked_at = now(), generation = e.generation + 1, decided_by = $2
            where e.agent_id = $1 and e.revoked_at is null returning ${columns}`,
          [agentId, principalName(context.principal)],
        );
        const record = row === undefined ? await enrolmentOf(session, 'e.agent_id', agentId) : enrolmentRecord(row);
        if (record === undefined) throw enrolmentNotFound(agentId);
        if (row !== undefined)
          await audit.write(session, context, { subject: `agent:${agentId}`, after: { ...record } });
        return record;
      }),
    enrolments: async (agentIds, context) => {
      checkCount('agentIds', agentIds.length, storeLimits.pageMax);
      const rows = await call(context, (session) =>
        session.text<EnrolmentRow>(`select ${columns} from ${s}.enrolments e where e.agent_id = any($1::text[])`, [
          textArray(agentIds),
        ]),
      );
      return rows.map(enrolmentRecord);
    },
    enrolmentOfKey: (keyThumbprint, context) =>
      call(context, (session) => enrolmentOf(session, 'e.key_thumbprint', keyThumbprint)),
    recordCredential: async (agentId, generation, validMs, context) => {
      await call(context, (session) =>
        session.text(
          `update ${s}.enrolments set credential_expires_at = now() + $3 * interval '1 millisecond'
            where agent_id = $1 and generation = $2`,
          [agentId, generation, validMs],
        ),
      );
    },
    credentialKeys: (context) => call(context, keysNow),
    addCredentialKey: async ({ validMs, ...key }, unlessYoungerMs, context) =>
      locked(context, async (session) => {
        await session.text(`delete from ${s}.credential_keys where expires_at <= now()`);
        await session.text(
          `insert into ${s}.credential_keys (key_id, expires_at, public_key, sealed_private_key)
           select $1, now() + $2 * interval '1 millisecond', $3, $4
            where not exists (select from ${s}.credential_keys k where k.created_at > now() - $5 * interval '1 millisecond')`,
          [key.keyId, validMs, key.publicKey, key.sealedPrivateKey, unlessYoungerMs],
        );
        return keysNow(session);
      }),
  };
}
