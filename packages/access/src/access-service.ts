import { create, type JsonObject } from '@bufbuild/protobuf';
import { durationMs, timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import {
  AccessService,
  AuditEntrySchema,
  CreateTokenResponseSchema,
  GetSignInResponseSchema,
  ListAuditResponseSchema,
  ListTokensResponseSchema,
  RevokeTokenResponseSchema,
  TokenStatusSchema,
  WhoAmIResponseSchema,
  type AuditEntry,
  type CreateTokenRequest,
  type CreateTokenResponse,
  type ListAuditRequest,
  type ListAuditResponse,
  type ListTokensRequest,
  type ListTokensResponse,
  type TokenStatus,
} from '@drover/control-api';
import { DroverError } from '@drover/lease-kit';
import type {
  AccessStore,
  AuditEntry as StoredAuditEntry,
  AuditStore,
  StoreContext,
  TokenDraft,
  TokenRecord,
} from '@drover/lease-store';
import { randomUUID } from 'node:crypto';
import { callerFrom } from './caller.ts';
import { changeFrom } from './pending-change.ts';
import { roleFromWire, wireRole } from './wire-role.ts';
import { newTokenSecret, tokenHash } from './token-secret.ts';

/** How people sign in with an OpenID Connect issuer. */
export interface SignInOptions {
  readonly issuer: string;
  /** As which client the command line signs in. */
  readonly clientId: string;
  /** Absent: the issuer is not asked for one. */
  readonly audience?: string;
  readonly scopes: readonly string[];
}

/** Who works together in the service. */
export interface AccessServiceDeps {
  readonly store: { readonly access: AccessStore; readonly audit: AuditStore };
  /** Absent: people use tokens. */
  readonly signIn?: SignInOptions;
}

const pageMax = 1_000;
const pageDefault = 200;
const defaultLifetimeMs = 90 * 86_400_000;
const lifetimeMsMin = 60_000;
const lifetimeMsMax = 10 * 365 * 86_400_000;

/** Puts drover.control.v1.AccessService on a router whose calls came through the gate. */
export function registerAccessService(router: ConnectRouter, deps: AccessServiceDeps): ConnectRouter {
  const { access, audit } = deps.store;
  return router.service(AccessService, {
    getSignIn: () => {
      const { issuer = '', clientId = '', audience = '', scopes = [] } = deps.signIn ?? {};
      return create(GetSignInResponseSchema, { issuer, clientId, audience, scopes: [...scopes] });
    },
    whoAmI: (_request, { values }) => {
      const { principal, role, pools = [], credential, expiresAtMs } = callerFrom(values);
      return create(WhoAmIResponseSchema, {
        ...principal,
        role: wireRole(role),
        pools: [...pools],
        credential,
        ...(expiresAtMs === undefined ? {} : { expiresAt: timestampFromMs(expiresAtMs) }),
      });
    },
    createToken: (request, context) => createToken(access, request, callOf(context)),
    listTokens: (request, context) => listTokens(access, request, callOf(context)),
    revokeToken: async ({ tokenId }, context) => {
      if (!/^[0-9a-fA-F-]{4,36}$/.test(tokenId)) {
        throw invalid('INVALID_TOKEN_ID', 'token_id', shown(tokenId), 'a token id, or at least its first 4 characters');
      }
      const token = await access.revokeToken(tokenId.toLowerCase(), callOf(context));
      return create(RevokeTokenResponseSchema, { token: statusOf(token) });
    },
    listAudit: (request, context) => listAudit(audit, request, callOf(context)),
  });
}

function callOf(context: HandlerContext): StoreContext {
  const { values, signal } = context;
  const change = changeFrom(values);
  return { principal: callerFrom(values).principal, signal, ...(change === undefined ? {} : { change }) };
}

async function createToken(
  access: AccessStore,
  request: CreateTokenRequest,
  call: StoreContext,
): Promise<CreateTokenResponse> {
  const secret = newTokenSecret();
  const token = await access.createToken({ ...draftOf(request), hash: tokenHash(secret)! }, call);
  return create(CreateTokenResponseSchema, { token: statusOf(token), secret });
}

function draftOf(request: CreateTokenRequest): Omit<TokenDraft, 'hash'> {
  const { user, pools, comment, lifetime, neverExpires } = request;
  if (!/^[\w.@:+-]{1,128}$/.test(user)) {
    throw invalid('INVALID_USER', 'user', shown(user), '1 to 128 letters, digits and . _ @ : + -');
  }
  const role = roleFromWire(request.role);
  if (role === undefined) {
    throw invalid('INVALID_ROLE', 'role', String(request.role), 'viewer, submitter, operator or admin');
  }
  if (pools.length > 100) throw invalid('INVALID_POOLS', 'pools', `${pools.length} pools`, 'at most 100');
  const wrong = pools.find((pool) => pool === '' || pool.length > 256);
  if (wrong !== undefined) throw invalid('INVALID_POOLS', 'pools', shown(wrong), 'names of 1 to 256 characters');
  if (role === 'admin' && pools.length > 0) {
    throw invalid('INVALID_POOLS', 'pools', 'an admin could give itself every pool', 'no pools for the role admin');
  }
  if (comment.length > 256) {
    throw invalid('INVALID_COMMENT', 'comment', `${comment.length} characters`, 'at most 256');
  }
  if (neverExpires && lifetime !== undefined) {
    throw invalid('INVALID_LIFETIME', 'lifetime', 'it stands beside never_expires', 'one of them');
  }
  const lifetimeMs = lifetime === undefined ? defaultLifetimeMs : durationMs(lifetime);
  if (lifetimeMs < lifetimeMsMin || lifetimeMs > lifetimeMsMax) {
    throw invalid('INVALID_LIFETIME', 'lifetime', `${lifetimeMs / 1_000} s`, '1 minute to 10 years');
  }
  const common = { tokenId: randomUUID(), user, role, pools: [...new Set(pools)], comment };
  return neverExpires ? common : { ...common, lifetimeMs };
}

async function listTokens(
  access: AccessStore,
  { pageSize, pageToken, ended }: ListTokensRequest,
  call: StoreContext,
): Promise<ListTokensResponse> {
  const limit = pageSizeOf(pageSize);
  const before = pageToken === '' ? {} : { before: pageToken };
  const tokens = await access.tokens({ ...before, limit, ended }, call);
  const nextPageToken = tokens.length < limit ? '' : tokens.at(-1)!.tokenId;
  return create(ListTokensResponseSchema, { tokens: tokens.map(statusOf), nextPageToken });
}

async function listAudit(audit: AuditStore, request: ListAuditRequest, call: StoreContext): Promise<ListAuditResponse> {
  const limit = pageSizeOf(request.pageSize);
  const { pageToken, since, until } = request;
  if (!/^\d{0,18}$/.test(pageToken)) {
    throw invalid('INVALID_PAGE_TOKEN', 'page_token', shown(pageToken), 'the next_page_token of the answer before');
  }
  for (const name of ['who', 'action', 'subject'] as const) {
    if (request[name].length > 256) {
      throw invalid('INVALID_AUDIT_QUERY', name, `${request[name].length} characters`, 'at most 256');
    }
  }
  const entries = await audit.entries(
    {
      limit,
      ...(pageToken === '' ? {} : { before: pageToken }),
      ...(since === undefined ? {} : { sinceMs: timestampMs(since) }),
      ...(until === undefined ? {} : { untilMs: timestampMs(until) }),
      ...(request.who === '' ? {} : { who: request.who }),
      ...(request.action === '' ? {} : { action: request.action }),
      ...(request.subject === '' ? {} : { subject: request.subject }),
    },
    call,
  );
  const nextPageToken = entries.length < limit ? '' : entries.at(-1)!.entryId;
  return create(ListAuditResponseSchema, { entries: entries.map(entryOf), nextPageToken });
}

function entryOf({ entryId, atMs, before, after, ...rest }: StoredAuditEntry): AuditEntry {
  return create(AuditEntrySchema, {
    ...rest,
    entryId,
    at: timestampFromMs(atMs),
    // Stored as JSON, so that it is some.
    ...(before === undefined ? {} : { before: before as JsonObject }),
    ...(after === undefined ? {} : { after: after as JsonObject }),
  });
}

function statusOf(token: TokenRecord): TokenStatus {
  const { tokenId, user, pools, comment, createdBy, createdAtMs, expiresAtMs, revokedAtMs, usedAtMs } = token;
  return create(TokenStatusSchema, {
    tokenId,
    user,
    role: wireRole(token.role),
    pools: [...pools],
    comment,
    createdBy,
    createdAt: timestampFromMs(createdAtMs),
    ...(expiresAtMs === undefined ? {} : { expiresAt: timestampFromMs(expiresAtMs) }),
    ...(revokedAtMs === undefined ? {} : { revokedAt: timestampFromMs(revokedAtMs) }),
    ...(usedAtMs === undefined ? {} : { usedAt: timestampFromMs(usedAtMs) }),
  });
}

function pageSizeOf(given: number): number {
  if (given > pageMax) throw invalid('INVALID_PAGE_SIZE', 'page_size', String(given), `1 to ${pageMax}`);
  return given === 0 ? pageDefault : given;
}

function shown(text: string): string {
  return JSON.stringify(text.slice(0, 64));
}

function invalid(code: string, where: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code,
    advice: 'fix-input',
    message: `${where}: ${problem}; allowed: ${allowed}.`,
    details: { where },
  });
}
