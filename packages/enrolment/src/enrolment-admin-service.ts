import { create } from '@bufbuild/protobuf';
import { durationMs, timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import {
  ApproveEnrolmentResponseSchema,
  CreateEnrolmentTokenResponseSchema,
  EnrolmentAdminService,
  EnrolmentSchema,
  EnrolmentState,
  EnrolmentTokenSchema,
  GetEnrolmentResponseSchema,
  ListEnrolmentTokensResponseSchema,
  ListPendingEnrolmentsResponseSchema,
  RejectEnrolmentResponseSchema,
  RevokeAgentResponseSchema,
  RevokeEnrolmentTokenResponseSchema,
  type Enrolment,
  type EnrolmentToken,
} from '@drover/control-api';
import { DroverError } from '@drover/lease-kit';
import {
  enrolmentNotFound,
  type EnrolmentRecord,
  type EnrolmentStore,
  type EnrolmentTokenRecord,
  type StoreContext,
  type StoreSignals,
} from '@drover/lease-store';
import { connectErrorFrom } from '@drover/rpc-errors';
import { newEnrolmentToken } from './enrolment-token.ts';

/** Who works together in the service. */
export interface EnrolmentAdminServiceDeps {
  readonly store: EnrolmentStore;
  readonly signals: StoreSignals;
  /** On whose behalf a call is made, and what the audit is told of it. */
  readonly contextOf: (context: HandlerContext) => StoreContext;
}

const pageDefault = 200;
const pageMax = 1_000;
const dayMs = 86_400_000;

/** Puts drover.control.v1.EnrolmentAdminService on a router. */
export function registerEnrolmentAdminService(router: ConnectRouter, deps: EnrolmentAdminServiceDeps): ConnectRouter {
  const { store, signals } = deps;
  const unary = async <T>(context: HandlerContext, run: (call: StoreContext) => Promise<T>): Promise<T> => {
    try {
      return await run(deps.contextOf(context));
    } catch (error) {
      throw connectErrorFrom(error);
    }
  };
  const changed = (agentId: string): void => signals.announce({ kind: 'enrolment', agentId });
  return router.service(EnrolmentAdminService, {
    createEnrolmentToken: (request, context) =>
      unary(context, async (call) => {
        const { tokenId, secretHash, text } = newEnrolmentToken();
        const { note, pools, mayReplace, usesMax } = request;
        const validMs = request.validFor === undefined ? dayMs : durationMs(request.validFor);
        const base = { tokenId, secretHash, note, validMs, pools, mayReplace };
        const record = await store.createToken(usesMax === 0 ? base : { ...base, usesMax }, call);
        return create(CreateEnrolmentTokenResponseSchema, { token: tokenOf(record), secret: text });
      }),
    listEnrolmentTokens: (request, context) =>
      unary(context, async (call) => {
        const limit = limitOf(request.pageSize);
        const [after] = placeOf(request.pageToken, 1);
        const tokens = await store.tokens(after === undefined ? { limit } : { after, limit }, call);
        const last = tokens.length < limit ? undefined : tokens.at(-1);
        const nextPageToken = last === undefined ? '' : pageTokenOf([last.tokenId]);
        return create(ListEnrolmentTokensResponseSchema, { tokens: tokens.map(tokenOf), nextPageToken });
      }),
    revokeEnrolmentToken: (request, context) =>
      unary(context, async (call) => {
        const token = tokenOf(await store.revokeToken(request.tokenId, call));
        return create(RevokeEnrolmentTokenResponseSchema, { token });
      }),
    listPendingEnrolments: (request, context) =>
      unary(context, async (call) => {
        const limit = limitOf(request.pageSize);
        const [agentId, keyThumbprint] = placeOf(request.pageToken, 2);
        const after = agentId === undefined || keyThumbprint === undefined ? undefined : { agentId, keyThumbprint };
        const pending = await store.pending(after === undefined ? { limit } : { after, limit }, call);
        const last = pending.length < limit ? undefined : pending.at(-1);
        return create(ListPendingEnrolmentsResponseSchema, {
          pending: pending.map(({ requestedAtMs, pools, ...told }) => ({
            ...told,
            pools: [...pools],
            requestedAt: timestampFromMs(requestedAtMs),
          })),
          nextPageToken: last === undefined ? '' : pageTokenOf([last.agentId, last.keyThumbprint]),
        });
      }),
    approveEnrolment: (request, context) =>
      unary(context, async (call) => {
        const { agentId, pools } = request;
        const enrolment = enrolmentOf(await store.approve({ ...which(request), pools }, call));
        changed(agentId);
        return create(ApproveEnrolmentResponseSchema, { enrolment });
      }),
    rejectEnrolment: (request, context) =>
      unary(context, async (call) => {
        await store.reject(which(request), call);
        changed(request.agentId);
        return create(RejectEnrolmentResponseSchema);
      }),
    revokeAgent: ({ agentId }, context) =>
      unary(context, async (call) => {
        const enrolment = enrolmentOf(await store.revoke(agentId, call));
        changed(agentId);
        return create(RevokeAgentResponseSchema, { enrolment });
      }),
    getEnrolment: ({ agentId }, context) =>
      unary(context, async (call) => {
        const [record] = await store.enrolments([agentId], call);
        if (record === undefined) throw enrolmentNotFound(agentId);
        return create(GetEnrolmentResponseSchema, { enrolment: enrolmentOf(record) });
      }),
  });
}

function which({ agentId, keyThumbprint }: { readonly agentId: string; readonly keyThumbprint: string }) {
  return keyThumbprint === '' ? { agentId } : { agentId, keyThumbprint };
}

function tokenOf(record: EnrolmentTokenRecord): EnrolmentToken {
  const { createdAtMs, expiresAtMs, revokedAtMs, usesMax = 0, pools, ...told } = record;
  const token = create(EnrolmentTokenSchema, { ...told, usesMax, pools: [...pools] });
  token.createdAt = timestampFromMs(createdAtMs);
  token.expiresAt = timestampFromMs(expiresAtMs);
  if (revokedAtMs !== undefined) token.revokedAt = timestampFromMs(revokedAtMs);
  return token;
}

function enrolmentOf(record: EnrolmentRecord): Enrolment {
  const { agentId, generation, keyThumbprint, tokenId = '', decidedBy = '', pools } = record;
  const enrolment = create(EnrolmentSchema, {
    agentId,
    state: record.state === 'revoked' ? EnrolmentState.REVOKED : EnrolmentState.ENROLLED,
    generation: BigInt(generation),
    keyThumbprint,
    tokenId,
    decidedBy,
    pools: [...pools],
    enrolledAt: timestampFromMs(record.enrolledAtMs),
  });
  const { credentialExpiresAtMs, revokedAtMs } = record;
  if (credentialExpiresAtMs !== undefined) enrolment.credentialExpiresAt = timestampFromMs(credentialExpiresAtMs);
  if (revokedAtMs !== undefined) enrolment.revokedAt = timestampFromMs(revokedAtMs);
  return enrolment;
}

function limitOf(pageSize: number): number {
  if (pageSize > pageMax) throw inputInvalid('page_size', String(pageSize), `at most ${pageMax}`);
  return pageSize === 0 ? pageDefault : pageSize;
}

function pageTokenOf(place: readonly string[]): string {
  return Buffer.from(JSON.stringify(place)).toString('base64url');
}

function placeOf(token: string, parts: number): readonly string[] {
  if (token === '') return [];
  try {
    const place: unknown = JSON.parse(Buffer.from(token, 'base64url').toString('utf8'));
    if (Array.isArray(place) && place.length === parts && place.every((part) => typeof part === 'string')) return place;
  } catch {
    // Said below.
  }
  throw inputInvalid('page_token', 'it is none of this list', 'the next_page_token of an answer');
}

function inputInvalid(field: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'ENROLMENT_INPUT_INVALID',
    advice: 'fix-input',
    message: `${field}: ${problem}; allowed: ${allowed}.`,
    details: { field },
  });
}
