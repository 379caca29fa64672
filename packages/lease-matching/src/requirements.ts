import { DroverError } from '@drover/lease-kit';
import { parsedCondition } from './internal/parsed-condition.ts';
import { poolNameLengthMax } from './pools.ts';
import { canonicalCondition } from './print-condition.ts';

/** Counted resources by name (`cores`, `ramMb`, licences …). Names are compared without regard to case. */
export type Resources = Readonly<Record<string, number>>;

/** What a lease asks of the agent that takes it. Plain data; everything absent asks for one free slot alone. */
export interface Requirements {
  /** Name of a pool that the agent must be in, without regard to case; absent: any. */
  readonly pool?: string | undefined;
  /** A condition that the agent's properties must satisfy, see `parseCondition`; absent: none. */
  readonly condition?: string | undefined;
  /** What the lease takes of the agent's counted resources: whole numbers, 0 is as absent. */
  readonly resources?: Resources | undefined;
  /** True: the lease runs alone on the agent, from an idle start to its end. Absent: false. */
  readonly exclusive?: boolean | undefined;
}

/** Most resources that one lease may name. */
export const resourcesMax = 32;
/** Longest name of a resource, in UTF-16 code units. */
export const resourceNameLengthMax = 64;

/**
 * Checks requirements before they are stored. Throws `CONDITION_INVALID`, or `REQUIREMENTS_INVALID` for an empty or too long
 * pool, too many resources, a resource without a name or twice in different case, and an amount that is not a whole number
 * from 0 to 2^53 - 1.
 */
export function checkRequirements(requirements: Requirements): void {
  const { pool, condition, resources = {} } = requirements;
  if (pool !== undefined && (pool.trim() === '' || pool.length > poolNameLengthMax)) {
    throw invalid('pool', `the pool ${quoted(pool)}`, `a name of 1 to ${poolNameLengthMax} characters`);
  }
  if (condition !== undefined) parsedCondition(condition);
  const entries = Object.entries(resources);
  if (entries.length > resourcesMax) {
    throw invalid('resources', `${entries.length} resources`, `at most ${resourcesMax} resources`);
  }
  const seen = new Set<string>();
  for (const [name, amount] of entries) {
    if (name.trim() === '' || name.length > resourceNameLengthMax) {
      throw invalid('resources', `the resource ${quoted(name)}`, `a name of 1 to ${resourceNameLengthMax} characters`);
    }
    if (!Number.isSafeInteger(amount) || amount < 0) {
      throw invalid(`resources.${name}`, `${amount} ${quoted(name)}`, 'a whole number from 0 to 2^53 - 1');
    }
    if (seen.has(name.trim().toLowerCase())) {
      throw invalid(`resources.${name}`, `the resource ${quoted(name)} stands twice`, 'each name once, in any case');
    }
    seen.add(name.trim().toLowerCase());
  }
}

/**
 * A text that is equal for requirements that the same agents fit in the same way, whatever their order, case, units or
 * spelling of defaults; it groups waiting leases into classes that are matched once. It is no proof that two conditions
 * are different: `a && b` and `!(!a || !b)` have different keys. Throws like {@link checkRequirements}.
 */
export function requirementsKey(requirements: Requirements): string {
  checkRequirements(requirements);
  const { pool, condition, exclusive = false } = requirements;
  return JSON.stringify([
    pool === undefined ? null : poolKey(pool),
    condition === undefined ? null : canonicalCondition(parsedCondition(condition)),
    [...neededResources(requirements)].sort(([a], [b]) => (a < b ? -1 : 1)),
    exclusive,
  ]);
}

/** A pool's name as it is compared: without space around it or regard to case. */
export function poolKey(pool: string): string {
  return pool.trim().toLowerCase();
}

/** What requirements take: amounts above zero by name in lower case. */
export function neededResources(requirements: Requirements): ReadonlyMap<string, number> {
  const needed = new Map<string, number>();
  for (const [name, amount] of Object.entries(requirements.resources ?? {})) {
    if (amount > 0) needed.set(name.trim().toLowerCase(), amount);
  }
  return needed;
}

/** How much there is of a resource, without regard to case; 0 for one that is not there. */
export function amountOf(resources: Resources, name: string): number {
  const exact = Object.hasOwn(resources, name) ? resources[name] : undefined;
  if (exact !== undefined) return exact;
  for (const [candidate, amount] of Object.entries(resources)) {
    if (candidate.trim().toLowerCase() === name) return amount;
  }
  return 0;
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);
}

function invalid(key: string, problem: string, allowed: string): DroverError {
  return new DroverError({
    code: 'REQUIREMENTS_INVALID',
    advice: 'fix-input',
    message: `Requirements invalid at ${key}: ${problem}; allowed: ${allowed}.`,
    details: { key },
  });
}
