import {
  enrolmentLimits,
  type CredentialKeyRecord,
  type EnrolmentRecord,
  type EnrolmentTokenRecord,
  type PendingEnrolmentRecord,
} from '@drover/lease-store';

const ms = (column: string, name: string): string => `floor(extract(epoch from ${column}) * 1000)::bigint as ${name}`;

/** Columns of tables, as the functions below read them. */
export const enrolmentColumns = {
  token: `t.token_id, ${ms('t.created_at', 'created_ms')}, ${ms('t.expires_at', 'expires_ms')},
    ${ms('t.revoked_at', 'revoked_ms')}, t.uses_max, t.uses, t.may_replace, t.secret_hash, t.created_by, t.note, t.pools`,
  enrolment: `e.agent_id, e.generation, ${ms('e.enrolled_at', 'enrolled_ms')},
    ${ms('e.credential_expires_at', 'credential_ms')}, ${ms('e.revoked_at', 'revoked_ms')},
    e.key_thumbprint, e.token_id, e.decided_by, e.pools`,
  request: `r.agent_id, r.key_thumbprint, ${ms('r.requested_at', 'requested_ms')}, r.is_rejected, r.name, r.address, r.pools`,
  key: `k.key_id, ${ms('k.created_at', 'created_ms')}, ${ms('k.expires_at', 'expires_ms')}, k.public_key, k.sealed_private_key`,
} as const;

/** Condition of requests that are still of interest. */
export const requestIsFresh = `r.asked_at > now() - (case when r.is_rejected then ${enrolmentLimits.rejectedMs}
  else ${enrolmentLimits.pendingMs} end) * interval '1 millisecond'`;

export interface TokenRow {
  readonly token_id: string;
  readonly created_ms: number;
  readonly expires_ms: number;
  readonly revoked_ms: number | null;
  readonly uses_max: number | null;
  readonly uses: number;
  readonly may_replace: boolean;
  readonly secret_hash: string;
  readonly created_by: string;
  readonly note: string;
  readonly pools: string[];
}

export function tokenRecord(row: TokenRow): EnrolmentTokenRecord {
  return {
    tokenId: row.token_id,
    note: row.note,
    createdAtMs: row.created_ms,
    createdBy: row.created_by,
    expiresAtMs: row.expires_ms,
    ...(row.revoked_ms === null ? {} : { revokedAtMs: row.revoked_ms }),
    ...(row.uses_max === null ? {} : { usesMax: row.uses_max }),
    uses: row.uses,
    pools: row.pools,
    mayReplace: row.may_replace,
  };
}

export interface EnrolmentRow {
  readonly agent_id: string;
  readonly generation: number;
  readonly enrolled_ms: number;
  readonly credential_ms: number | null;
  readonly revoked_ms: number | null;
  readonly key_thumbprint: string;
  readonly token_id: string | null;
  readonly decided_by: string | null;
  readonly pools: string[];
}

export function enrolmentRecord(row: EnrolmentRow): EnrolmentRecord {
  return {
    agentId: row.agent_id,
    state: row.revoked_ms === null ? 'enrolled' : 'revoked',
    generation: row.generation,
    keyThumbprint: row.key_thumbprint,
    enrolledAtMs: row.enrolled_ms,
    ...(row.token_id === null ? {} : { tokenId: row.token_id }),
    ...(row.decided_by === null ? {} : { decidedBy: row.decided_by }),
    pools: row.pools,
    ...(row.credential_ms === null ? {} : { credentialExpiresAtMs: row.credential_ms }),
    ...(row.revoked_ms === null ? {} : { revokedAtMs: row.revoked_ms }),
  };
}

export interface RequestRow {
  readonly agent_id: string;
  readonly key_thumbprint: string;
  readonly requested_ms: number;
  readonly is_rejected: boolean;
  readonly name: string;
  readonly address: string;
  readonly pools: string[];
}

export function pendingRecord(row: RequestRow & { readonly replaces: boolean }): PendingEnrolmentRecord {
  const { agent_id: agentId, key_thumbprint: keyThumbprint, name, address, pools, replaces } = row;
  return { agentId, keyThumbprint, name, address, pools, requestedAtMs: row.requested_ms, replaces };
}

export interface CredentialKeyRow {
  readonly key_id: string;
  readonly created_ms: number;
  readonly expires_ms: number;
  readonly public_key: string;
  readonly sealed_private_key: string;
}

export function credentialKeyRecord(row: CredentialKeyRow): CredentialKeyRecord {
  return {
    keyId: row.key_id,
    publicKey: row.public_key,
    sealedPrivateKey: row.sealed_private_key,
    createdAtMs: row.created_ms,
    expiresAtMs: row.expires_ms,
  };
}
