import {
  agentIdTaken,
  agentKeyTaken,
  agentRevoked,
  enrolmentRejected,
  enrolmentTokenRefused,
  poolNotAllowed,
} from './enrolment-errors.ts';
import type { EnrolmentApplication, EnrolmentRecord, EnrolmentTokenRecord } from './enrolment-store.ts';

/** What a store knows about an application when it decides. */
export interface ApplicationFacts {
  /** The enrolment of the agent id. */
  readonly enrolment: EnrolmentRecord | undefined;
  /** The agent that the key is another enrolment's of. */
  readonly keyOwner: string | undefined;
  /** The token that is named, with whether the secret is right; undefined if there is none. */
  readonly token: { readonly record: EnrolmentTokenRecord; readonly isRight: boolean } | undefined;
  /** An operator has sent this machine away. */
  readonly isRejected: boolean;
  readonly nowMs: number;
}

/** What is to be done about an application. */
export type ApplicationDecision =
  | { readonly kind: 'known' }
  | { readonly kind: 'enrol'; readonly pools: readonly string[] }
  | { readonly kind: 'wait' };

/** The pools of an agent that an operator approves: those that are named, or else those that it is bound to already. */
export function boundTo(
  named: readonly string[],
  earlier: Pick<EnrolmentRecord, 'pools'> | undefined,
): readonly string[] {
  return named.length > 0 ? named : (earlier?.pools ?? []);
}

/**
 * Whether a machine is enrolled at once, waits or is refused: the rule of every enrolment store. Nobody takes an id over
 * by knowing it: that needs its key, a token that may replace agents, or an operator. A revoked key comes back by
 * an operator alone. Throws as `EnrolmentStore.apply` says.
 */
export function decideApplication(application: EnrolmentApplication, facts: ApplicationFacts): ApplicationDecision {
  const { agentId, keyThumbprint, pools, token: shown } = application;
  const { enrolment, keyOwner, token, isRejected, nowMs } = facts;
  if (enrolment?.keyThumbprint === keyThumbprint) {
    if (enrolment.state === 'revoked') throw agentRevoked(agentId);
    return { kind: 'known' };
  }
  if (keyOwner !== undefined) throw agentKeyTaken(agentId, keyOwner);
  if (shown === undefined) {
    if (isRejected) throw enrolmentRejected(agentId);
    return { kind: 'wait' };
  }
  if (token === undefined || !token.isRight) throw enrolmentTokenRefused('invalid');
  const { record } = token;
  if (record.revokedAtMs !== undefined) throw enrolmentTokenRefused('revoked');
  if (record.expiresAtMs <= nowMs) throw enrolmentTokenRefused('expired');
  if (record.usesMax !== undefined && record.uses >= record.usesMax) throw enrolmentTokenRefused('used');
  if (enrolment !== undefined && !record.mayReplace) throw agentIdTaken(agentId);
  const bound = new Set(record.pools.map((name) => name.toLowerCase()));
  const outside = bound.size === 0 ? undefined : pools.find((name) => !bound.has(name.toLowerCase()));
  if (outside !== undefined) throw poolNotAllowed(outside, record.pools);
  return { kind: 'enrol', pools: record.pools };
}
