import type { AgentOffer } from './agent-offer.ts';
import { explainCondition } from './explain-condition.ts';
import { parsedCondition } from './internal/parsed-condition.ts';
import { amountOf, neededResources, poolKey, type Requirements, type Resources } from './requirements.ts';

/** Why an agent does not take a lease. The order here is the order in which {@link match} looks. */
export const mismatchCodes = [
  'NO_SESSION',
  'DISABLED',
  'IN_DOWNTIME',
  'SUSPECTED',
  'HEALTH_QUARANTINED',
  'STOPPING',
  'UNHEALTHY',
  'BUSY',
  'DRAINING',
  'NOT_IN_POOL',
  'CONDITION_FALSE',
  'TOO_SMALL',
  'HELD_EXCLUSIVELY',
  'NOT_IDLE',
  'NO_FREE_SLOT',
  'TOO_LITTLE_FREE',
] as const;

/** A stable code for a reason, one of {@link mismatchCodes}. */
export type MismatchCode = (typeof mismatchCodes)[number];

/** The first reason for which an agent does not take a lease. */
export interface Mismatch {
  readonly code: MismatchCode;
  /** For a person; completes "agent x does not take it: …". */
  readonly message: string;
  /** True: waiting does not help, only another pool, other properties or a larger machine would. */
  readonly lasting: boolean;
}

/** What {@link match} finds. */
export type MatchResult = { readonly fits: true } | { readonly fits: false; readonly reason: Mismatch };

/** What a task source may do that others may not. Everything absent: nothing. */
export interface MatchAllowances {
  /** Its leases go to agents that are disabled or withheld too, e.g. a restart. */
  readonly whenDisabled?: boolean | undefined;
  /** Its leases go to agents in scheduled downtime too. */
  readonly inDowntime?: boolean | undefined;
  /** Its leases go to draining agents too: it asked for the drain. */
  readonly whenDraining?: boolean | undefined;
}

/**
 * Whether an agent can take a lease now, and if not the first reason, in this order: session, enabled, downtime, health by facts,
 * stopping, health that it reports, busy, draining, pool, condition, slots and resources in total, held exclusively, idle (for an exclusive lease), free
 * slot, free resources. Throws `CONDITION_INVALID` for requirements that `checkRequirements` would refuse.
 */
export function match(requirements: Requirements, offer: AgentOffer, allowances: MatchAllowances = {}): MatchResult {
  const reason =
    stateMismatch(offer, allowances) ?? fitMismatch(requirements, offer) ?? capacityMismatch(requirements, offer);
  return reason === undefined ? { fits: true } : { fits: false, reason };
}

/**
 * Whether an agent could take a lease if it were connected, enabled and idle: pool, condition, slots and resources in total.
 * Undefined means yes. A lease for which no agent gives undefined is one that nobody in the fleet can take.
 */
export function fitMismatch(requirements: Requirements, offer: AgentOffer): Mismatch | undefined {
  const { pool, condition } = requirements;
  if (pool !== undefined && !offer.pools.some((name) => poolKey(name) === poolKey(pool))) {
    const pools = offer.pools.length === 0 ? 'no pool' : `pool ${offer.pools.join(', ')}`;
    return lasting('NOT_IN_POOL', `needs pool ${pool}, is in ${pools}`);
  }
  if (condition !== undefined) {
    const explanation = explainCondition(parsedCondition(condition), offer.properties);
    if (!explanation.holds) return lasting('CONDITION_FALSE', `condition ${explanation.message}`);
  }
  if (offer.slotsTotal < 1) return lasting('TOO_SMALL', 'needs 1 slot, has 0');
  const short = shortage(requirements, offer.resourcesTotal);
  return short === undefined
    ? undefined
    : lasting('TOO_SMALL', `needs ${short.needed} ${short.name}, has ${short.there}`);
}

function stateMismatch(offer: AgentOffer, allowances: MatchAllowances): Mismatch | undefined {
  if (!offer.hasSession) return passing('NO_SESSION', 'is not connected');
  if (!offer.enabled && allowances.whenDisabled !== true) return passing('DISABLED', 'is disabled');
  if (offer.inDowntime && allowances.inDowntime !== true) return passing('IN_DOWNTIME', 'is in scheduled downtime');
  if (offer.withheld !== undefined && allowances.whenDisabled !== true) return withheld[offer.withheld];
  if (offer.stopping) return passing('STOPPING', 'is going down');
  if (!offer.healthy) return passing('UNHEALTHY', 'reports that it is unhealthy');
  if (offer.busy) return passing('BUSY', 'is busy: the machine is needed for something else');
  if (offer.draining && allowances.whenDraining !== true)
    return passing('DRAINING', 'takes nothing new until it is idle');
  return undefined;
}

const withheld: Readonly<Record<NonNullable<AgentOffer['withheld']>, Mismatch>> = {
  suspected: passing('SUSPECTED', 'is suspected to fail leases that succeed elsewhere; a canary is to decide'),
  quarantined: passing('HEALTH_QUARANTINED', 'is quarantined: it fails leases that succeed elsewhere'),
};

function capacityMismatch(requirements: Requirements, offer: AgentOffer): Mismatch | undefined {
  if (offer.exclusivelyHeld) return passing('HELD_EXCLUSIVELY', 'runs a lease that has it for itself');
  if (requirements.exclusive === true && !offer.idle) {
    return passing('NOT_IDLE', 'needs an idle agent, other work is running');
  }
  if (offer.slotsFree < 1) return passing('NO_FREE_SLOT', `needs 1 slot, all ${offer.slotsTotal} are in use`);
  const short = shortage(requirements, offer.resourcesFree);
  if (short === undefined) return undefined;
  const total = amountOf(offer.resourcesTotal, short.name);
  return passing('TOO_LITTLE_FREE', `needs ${short.needed} ${short.name}, has ${short.there} of ${total} free`);
}

function shortage(
  requirements: Requirements,
  available: Resources,
): { readonly name: string; readonly needed: number; readonly there: number } | undefined {
  for (const [name, needed] of neededResources(requirements)) {
    const there = amountOf(available, name);
    if (there < needed) return { name, needed, there };
  }
  return undefined;
}

function lasting(code: MismatchCode, message: string): Mismatch {
  return { code, message, lasting: true };
}

function passing(code: MismatchCode, message: string): Mismatch {
  return { code, message, lasting: false };
}
