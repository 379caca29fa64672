import { principalName } from '@drover/lease-kit';
import {
  checkTokenDraft,
  checkWhole,
  inputInvalid,
  isUuid,
  storeLimits,
  tokenExists,
  tokenIdAmbiguous,
  tokenNotFound,
  tokensFull,
  type StoreContext,
  type TokenDraft,
  type TokenRecord,
} from '@drover/lease-store';
import type { AuditLines } from './audit-lines.ts';
import { statement, type Session, type Statement } from './internal/database.ts';
import { sqlStateOf } from './internal/postgres-error.ts';

/** How roles are stored: their place from 1. Numbers are never given anew. */
const storedRoles: readonly TokenRecord['role'][] = ['viewer', 'submitter', 'operator', 'admin'];

interface TokenRow {
  token_id: string;
  created_ms: number;
  expires_ms: number | null;
  revoked_ms: number | null;
  used_ms: number | null;
  role: number;
  user_name: string;
  created_by: string;
  comment: string;
  pools: string[];
}

const ms = (column: string) => `floor(extract(epoch from ${column}) * 1000)::float8`;
const columns = `token_id, ${ms('created_at')} as created_ms, ${ms('expires_at')} as expires_ms,
  ${ms('revoked_at')} as revoked_ms, ${ms('used_at')} as used_ms, role, user_name, created_by, comment, pools`;

/** Tokens of people and programs. */
export class AccessTokens {
  readonly #audit: AuditLines;
  readonly #lock: Statement;
  readonly #count: Statement;
  readonly #insert: Statement;
  readonly #page: Statement;
  readonly #find: Statement;
  readonly #revoke: Statement;
  readonly #use: Statement;
  readonly #used: Statement;

  constructor(s: string, audit: AuditLines) {
    this.#audit = audit;
    const live = 'revoked_at is null and (expires_at is null or expires_at > now())';
    this.#lock = statement('tokens_lock', `select pg_advisory_xact_lock(hashtextextended('tokens of ${s}', 0))`);
    this.#count = statement('tokens_count', `select count(*)::int as live from ${s}.tokens where ${live}`);
    this.#insert = statement(
      'tokens_insert',
      `insert into ${s}.tokens (token_id, hash, user_name, role, pools, comment, expires_at, created_by)
       values ($1, $2, $3, $4, $5, $6, now() + $7::float8 * interval '1 millisecond', $8) returning ${columns}`,
    );
    this.#page = statement(
      'tokens_page',
      `select ${columns} from ${s}.tokens
        where ($3 or ${live})
          and (created_at, token_id) < (
            coalesce((select b.created_at from ${s}.tokens b where b.token_id = $1), 'infinity'),
            coalesce($1, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid))
        order by created_at desc, token_id desc limit $2`,
    );
    this.#find = statement(
      'tokens_find',
      `select ${columns} from ${s}.tokens where token_id between $1 and $2 order by token_id limit 2 for update`,
    );
    this.#revoke = statement(
      'tokens_revoke',
      `update ${s}.tokens set revoked_at = now() where token_id = $1 returning ${columns}`,
    );
    this.#use = statement('tokens_use', `select ${columns} from ${s}.tokens where hash = $1`);
    this.#used = statement(
      'tokens_used',
      `update ${s}.tokens set used_at = now()
        where token_id = $1 and (used_at is null or used_at <= now() - $2::float8 * interval '1 millisecond')
       returning ${columns}`,
    );
  }

  /** In a transaction. */
  async create(session: Session, draft: TokenDraft, context: StoreContext): Promise<TokenRecord> {
    checkTokenDraft(draft);
    // Counted under a lock: two that come at once are counted one after the other.
    await session.run(this.#lock, []);
    const [count] = await session.run<{ live: number }>(this.#count, []);
    if ((count?.live ?? 0) >= storeLimits.tokensMax) throw tokensFull();
    const { tokenId, hash, user, role, pools, comment, lifetimeMs = null } = draft;
    const values = [tokenId, Buffer.from(hash), user, storedRoles.indexOf(role) + 1, pools, comment, lifetimeMs];
    try {
      const rows = await session.run<TokenRow>(this.#insert, [...values, principalName(context.principal)]);
      const record = recordFrom(rows[0]!);
      await this.#audit.write(session, context, { subject: `token:${record.tokenId}`, after: { ...record } });
      return record;
    } catch (error) {
      if (sqlStateOf(error) === '23505') throw tokenExists(tokenId);
      throw error;
    }
  }

  async page(
    session: Session,
    { before, limit, ended = false }: { before?: string; limit: number; ended?: boolean },
  ): Promise<TokenRecord[]> {
    checkWhole('limit', limit, 1, storeLimits.pageMax);
    if (before !== undefined && !isUuid(before)) throw tokenNotFound(before);
    const rows = await session.run<TokenRow>(this.#page, [before ?? null, limit, ended]);
    return rows.map(recordFrom);
  }

  /** In a transaction. */
  async revoke(session: Session, idOrPrefix: string, context: StoreContext): Promise<TokenRecord> {
    if (idOrPrefix.length < 4) {
      throw inputInvalid('token id', JSON.stringify(idOrPrefix), 'at least 4 characters of the id');
    }
    const first = filled(idOrPrefix, '0');
    if (!isUuid(first)) throw tokenNotFound(idOrPrefix);
    const found = await session.run<TokenRow>(this.#find, [first, filled(idOrPrefix, 'f')]);
    if (found.length > 1) throw tokenIdAmbiguous(idOrPrefix);
    if (!found[0]) throw tokenNotFound(idOrPrefix);
    const token = recordFrom(found[0]);
    if (token.revokedAtMs !== undefined) return token;
    const rows = await session.run<TokenRow>(this.#revoke, [token.tokenId]);
    await this.#audit.write(session, context, { subject: `token:${token.tokenId}`, before: { ...token } });
    return recordFrom(rows[0]!);
  }

  async use(session: Session, hash: Uint8Array): Promise<TokenRecord | undefined> {
    const [found] = await session.run<TokenRow>(this.#use, [Buffer.from(hash)]);
    if (found === undefined) return undefined;
    const isFresh = found.used_ms !== null && Date.now() - found.used_ms < storeLimits.tokenUseMs / 2;
    const [used] = isFresh ? [] : await session.run<TokenRow>(this.#used, [found.token_id, storeLimits.tokenUseMs]);
    return recordFrom(used ?? found);
  }
}

/** The first or last UUID that begins with a prefix. */
function filled(prefix: string, digit: string): string {
  return (
    prefix +
    `${digit.repeat(8)}-${digit.repeat(4)}-${digit.repeat(4)}-${digit.repeat(4)}-${digit.repeat(12)}`.slice(
      prefix.length,
    )
  );
}

function recordFrom(row: TokenRow): TokenRecord {
  return {
    tokenId: row.token_id,
    user: row.user_name,
    role: storedRoles[row.role - 1] ?? 'viewer',
    pools: row.pools,
    comment: row.comment,
    createdBy: row.created_by,
    createdAtMs: row.created_ms,
    ...(row.expires_ms === null ? {} : { expiresAtMs: row.expires_ms }),
    ...(row.revoked_ms === null ? {} : { revokedAtMs: row.revoked_ms }),
    ...(row.used_ms === null ? {} : { usedAtMs: row.used_ms }),
  };
}
