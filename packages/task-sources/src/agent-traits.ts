import type { AgentDescription } from '@drover/lease-protocol';
import { effectivePools, propertiesFrom, type AgentOffer, type Pools, type Properties } from '@drover/lease-matching';

/** What an agent is, in the form that matching takes; made anew when the agent says something else about itself, or pools change. */
export interface AgentTraits {
  readonly agentId: string;
  readonly properties: Properties;
  /** Pools that it is in, see `effectivePools`. */
  readonly pools: readonly string[];
  /** Pools that it asks to be in. */
  readonly poolsAsked: readonly string[];
  /** Pools that its enrolment allows; absent: every one. */
  readonly poolsAllowed?: readonly string[] | undefined;
  /** Names in lower case. */
  readonly resourcesTotal: Readonly<Record<string, number>>;
  readonly payloadTypes: readonly string[];
  /** How many attempts it holds at the most. */
  readonly leasesMax: number;
  /** It takes one lease and leaves. */
  readonly ephemeral: boolean;
}

/**
 * Traits from what an agent says about itself, the fleet's pool definitions (absent: none) and the pools that its enrolment
 * allows (absent: every one). Throws `PROPERTY_INVALID` for properties that matching does not take.
 */
export function agentTraits(
  agentId: string,
  description: AgentDescription,
  pools: Pools = [],
  poolsAllowed?: readonly string[],
): AgentTraits {
  const properties = propertiesFrom(description.properties.map(({ key, value }) => `${key}=${value}`));
  const { pools: poolsAsked } = description;
  return {
    agentId,
    properties,
    pools: effectivePools({ agentId, properties, asked: poolsAsked, allowed: poolsAllowed }, pools),
    poolsAsked,
    ...(poolsAllowed === undefined ? {} : { poolsAllowed }),
    resourcesTotal: resourceCounts(description.resources),
    payloadTypes: description.payloadTypes,
    leasesMax: description.ephemeral ? Math.min(1, description.leasesMax) : description.leasesMax,
    ephemeral: description.ephemeral,
  };
}

/**
 * The same traits under other pool definitions; the same object if they change nothing. Whoever remembers verdicts by the
 * properties object sees a new one.
 */
export function traitsInPools(traits: AgentTraits, pools: Pools): AgentTraits {
  const { agentId, properties, poolsAsked: asked, poolsAllowed: allowed } = traits;
  const now = effectivePools({ agentId, properties, asked, allowed }, pools);
  const isSame = now.length === traits.pools.length && now.every((name, index) => name === traits.pools[index]);
  return isSame ? traits : { ...traits, properties: new Map(properties), pools: now };
}

/** Counts of a wire map as numbers, names in lower case; counts above 2^53 − 1 are cut to it. */
export function resourceCounts(counts: Readonly<Record<string, bigint>>): Record<string, number> {
  const numbers: Record<string, number> = {};
  for (const [name, count] of Object.entries(counts)) {
    const key = name.trim().toLowerCase();
    const value = count > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(count);
    numbers[key] = Math.min(Number.MAX_SAFE_INTEGER, (numbers[key] ?? 0) + value);
  }
  return numbers;
}

/** What is in use of an agent at one moment. */
export interface AgentUse {
  readonly leases: number;
  /** Names in lower case. */
  readonly resourcesUsed: Readonly<Record<string, number>>;
  /** An exclusive lease has it for itself. */
  readonly exclusivelyHeld: boolean;
}

/** Where an agent stands, apart from what it is and what it does. */
export type AgentStanding = Pick<
  AgentOffer,
  'hasSession' | 'enabled' | 'inDowntime' | 'withheld' | 'stopping' | 'healthy' | 'busy' | 'draining'
>;

/** The standing of an agent that takes whatever fits. */
export const readyStanding: AgentStanding = {
  hasSession: true,
  enabled: true,
  inDowntime: false,
  stopping: false,
  healthy: true,
  busy: false,
  draining: false,
};

/** An agent as `match` sees it. */
export function agentOffer(traits: AgentTraits, use: AgentUse, standing: AgentStanding): AgentOffer {
  return {
    ...standing,
    agentId: traits.agentId,
    pools: traits.pools,
    properties: traits.properties,
    slotsTotal: traits.leasesMax,
    slotsFree: Math.max(0, traits.leasesMax - use.leases),
    resourcesTotal: traits.resourcesTotal,
    resourcesFree: resourcesLeft(traits.resourcesTotal, use.resourcesUsed),
    idle: use.leases === 0 && Object.values(use.resourcesUsed).every((count) => count === 0),
    exclusivelyHeld: use.exclusivelyHeld,
  };
}

/** Total less used, never below 0. Names of both in lower case. */
export function resourcesLeft(
  total: Readonly<Record<string, number>>,
  used: Readonly<Record<string, number>>,
): Record<string, number> {
  const left: Record<string, number> = {};
  for (const [name, count] of Object.entries(total)) left[name] = Math.max(0, count - (used[name] ?? 0));
  return left;
}

/** Adds `sign` × the resources of a lease to `counts`, in place, names in lower case, dropping what becomes 0. */
export function countResources(
  counts: Record<string, number>,
  resources: Readonly<Record<string, number>> | undefined,
  sign: 1 | -1,
): void {
  for (const [name, amount] of Object.entries(resources ?? {})) {
    const key = name.trim().toLowerCase();
    const next = (counts[key] ?? 0) + sign * amount;
    if (next > 0) counts[key] = next;
    else delete counts[key];
  }
}
