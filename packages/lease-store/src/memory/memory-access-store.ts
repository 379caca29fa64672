import { principalName } from '@drover/lease-kit';
import type { AccessStore, TokenRecord } from '../access-store.ts';
import { checkTokenDraft } from '../check-access-input.ts';
import { checkWhole } from '../check-store-input.ts';
import { inputInvalid, tokenExists, tokenIdAmbiguous, tokenNotFound, tokensFull } from '../store-errors.ts';
import { storeLimits } from '../store-limits.ts';
import type { StoreSignals } from '../store-signals.ts';
import type { MemoryAudit } from './memory-audit-store.ts';
import type { MemoryData } from './memory-data.ts';

type MemoryToken = { -readonly [Key in keyof TokenRecord]: TokenRecord[Key] } & { readonly hash: string };

/** Tokens that have ended which are kept, the newest ones. */
const endedTokensMax = 10_000;

/** The tokens of a memory store. */
export function memoryAccessStore(data: MemoryData, signals: StoreSignals, audit: MemoryAudit): AccessStore {
  /** Oldest first. */
  const tokens = new Map<string, MemoryToken>();
  const { clock } = data;
  const hasEnded = ({ revokedAtMs, expiresAtMs = Infinity }: TokenRecord): boolean =>
    revokedAtMs !== undefined || expiresAtMs <= clock.wallMs();
  const show = ({ hash: _, ...record }: MemoryToken): TokenRecord => structuredClone(record);
  const find = (idOrPrefix: string): MemoryToken => {
    if (idOrPrefix.length < 4) {
      throw inputInvalid('token id', JSON.stringify(idOrPrefix), 'at least 4 characters of the id');
    }
    const found = [...tokens.values()].filter(({ tokenId }) => tokenId.startsWith(idOrPrefix));
    if (found.length > 1) throw tokenIdAmbiguous(idOrPrefix);
    if (!found[0]) throw tokenNotFound(idOrPrefix);
    return found[0];
  };
  return {
    createToken: async (draft, context) => {
      data.enter(context);
      checkTokenDraft(draft);
      const { hash: bytes, lifetimeMs, ...rest } = draft;
      const hash = Buffer.from(bytes).toString('hex');
      const all = [...tokens.values()];
      if (tokens.has(draft.tokenId) || all.some((token) => token.hash === hash)) throw tokenExists(draft.tokenId);
      if (all.filter((token) => !hasEnded(token)).length >= storeLimits.tokensMax) throw tokensFull();
      const forgotten = tokens.size >= endedTokensMax + storeLimits.tokensMax ? all.find(hasEnded) : undefined;
      if (forgotten) tokens.delete(forgotten.tokenId);
      const createdAtMs = clock.wallMs();
      const token: MemoryToken = {
        ...structuredClone(rest),
        hash,
        createdBy: principalName(context.principal),
        createdAtMs,
        ...(lifetimeMs === undefined ? {} : { expiresAtMs: createdAtMs + lifetimeMs }),
      };
      tokens.set(draft.tokenId, token);
      const record = show(token);
      audit.write(context, { subject: `token:${record.tokenId}`, after: { ...record } });
      return record;
    },
    tokens: async ({ before, limit, ended = false }, context) => {
      data.enter(context);
      checkWhole('limit', limit, 1, storeLimits.pageMax);
      const all = [...tokens.values()].reverse();
      const from = before === undefined ? 0 : all.findIndex(({ tokenId }) => tokenId === before) + 1;
      if (before !== undefined && from === 0) throw tokenNotFound(before);
      return all
        .slice(from)
        .filter((token) => ended || !hasEnded(token))
        .slice(0, limit)
        .map(show);
    },
    revokeToken: async (idOrPrefix, context) => {
      data.enter(context);
      const token = find(idOrPrefix);
      if (token.revokedAtMs === undefined) {
        const before = show(token);
        token.revokedAtMs = clock.wallMs();
        audit.write(context, { subject: `token:${token.tokenId}`, before: { ...before } });
      }
      signals.announce({ kind: 'token', tokenId: token.tokenId });
      return show(token);
    },
    useToken: async (hash, context) => {
      data.enter(context);
      const wanted = Buffer.from(hash).toString('hex');
      const token = [...tokens.values()].find((one) => one.hash === wanted);
      if (token === undefined) return undefined;
      const nowMs = clock.wallMs();
      if (nowMs - (token.usedAtMs ?? -Infinity) >= storeLimits.tokenUseMs) token.usedAtMs = nowMs;
      return show(token);
    },
  };
}
