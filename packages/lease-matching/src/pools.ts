import { DroverError, isDroverError } from '@drover/lease-kit';
import type { Condition } from './condition.ts';
import { evaluateCondition } from './evaluate-condition.ts';
import { parseCondition } from './parse-condition.ts';
import type { Properties } from './properties.ts';
import { poolKey } from './requirements.ts';

/** A pool as an operator writes it: a list of agents, a condition, or both, which adds them up. */
export interface PoolDefinition {
  /** 1 to 64 characters, unique without regard to case. */
  readonly name: string;
  /** Ids of agents that belong to it whatever they report; absent: none. */
  readonly agents?: readonly string[] | undefined;
  /** Agents whose properties satisfy it belong to the pool; absent: none by condition. */
  readonly condition?: string | undefined;
  /**
   * How much of the pool a submitter gets compared with others, by the name of its principal, e.g. `user:ann`: 0.01 to 1,000,
   * for at most 256 of them. Who is not named has 1.
   */
  readonly weights?: Readonly<Record<string, number>> | undefined;
}

/** Pools with their conditions read: what {@link definePools} gives and {@link effectivePools} takes. */
export type Pools = readonly DefinedPool[];

/** One pool of {@link Pools}. */
export interface DefinedPool {
  readonly name: string;
  readonly agents: ReadonlySet<string>;
  readonly condition: Condition | undefined;
  readonly weights: ReadonlyMap<string, number>;
}

/** Longest name of a pool, in UTF-16 code units. */
export const poolNameLengthMax = 64;
/** Most pools of one fleet. */
export const poolsMax = 1024;
/** Most submitters to whom one pool gives a weight. */
const poolWeightsMax = 256;

const weightMin = 0.01;
const weightMax = 1_000;
const principalNameLengthMax = 300;

/**
 * Checks pools and reads their conditions. Throws `POOL_INVALID` for a name that is empty, too long or there twice, for a pool
 * that has neither a list nor a condition, for a condition or a weight that is invalid, and for too many pools or weights.
 */
export function definePools(definitions: readonly PoolDefinition[]): Pools {
  if (definitions.length > poolsMax) throw invalid('', `${definitions.length} pools; allowed: at most ${poolsMax}`);
  const names = new Set<string>();
  return definitions.map(({ name, agents, condition, weights = {} }) => {
    const key = name.trim().toLowerCase();
    if (key === '' || name.length > poolNameLengthMax) {
      throw invalid(name, `its name; allowed: 1 to ${poolNameLengthMax} characters`);
    }
    if (names.has(key)) throw invalid(name, 'it is defined twice; allowed: each name once, in any case');
    names.add(key);
    if (agents === undefined && condition === undefined) {
      throw invalid(name, 'it names nobody; allowed: a list of agents, a condition, or both');
    }
    return {
      name: name.trim(),
      agents: new Set(agents),
      condition: read(name, condition),
      weights: weightsOf(name, weights),
    };
  });
}

/** What decides which pools an agent is in. */
export interface PoolMember {
  readonly agentId: string;
  readonly properties: Properties;
  /** Names of pools that it asks to be in, defined or not; absent: none. */
  readonly asked?: readonly string[] | undefined;
  /** Names of the pools that its enrolment binds it to, and it is in; absent: it is bound to none, and every one is allowed. */
  readonly allowed?: readonly string[] | undefined;
}

/**
 * The names of all pools that an agent is in, each once in any case: those it asks for or is bound to, then those whose
 * definition it meets.
 * What an agent says of itself, a wish or a property, gets it into allowed pools alone; a pool that lists its id takes it all
 * the same, since an operator wrote that.
 */
export function effectivePools(member: PoolMember, pools: Pools): string[] {
  const allowed = member.allowed === undefined ? undefined : new Set(member.allowed.map((name) => poolKey(name)));
  const found = new Map<string, string>();
  for (const name of [...(member.asked ?? []), ...(member.allowed ?? [])]) {
    const key = poolKey(name);
    if (!found.has(key) && allowed?.has(key) !== false) found.set(key, name);
  }
  for (const { name, agents, condition } of pools) {
    const key = poolKey(name);
    const meets = (): boolean => condition !== undefined && evaluateCondition(condition, member.properties);
    if (agents.has(member.agentId) || (allowed?.has(key) !== false && meets())) found.set(key, name);
  }
  return [...found.values()];
}

function read(name: string, condition: string | undefined): Condition | undefined {
  if (condition === undefined) return undefined;
  try {
    return parseCondition(condition);
  } catch (error) {
    if (!isDroverError(error, 'CONDITION_INVALID')) throw error;
    throw invalid(name, error.message, error);
  }
}

function weightsOf(pool: string, weights: Readonly<Record<string, number>>): ReadonlyMap<string, number> {
  const entries = Object.entries(weights);
  if (entries.length > poolWeightsMax) {
    throw invalid(pool, `${entries.length} weights; allowed: at most ${poolWeightsMax}`);
  }
  for (const [principal, weight] of entries) {
    const shown = JSON.stringify(principal.slice(0, 80));
    // The kinds of `Principal` that may submit.
    if (!/^(user|service):./.test(principal) || principal.length > principalNameLengthMax) {
      throw invalid(pool, `a weight for ${shown}; allowed: user:NAME or service:NAME`);
    }
    if (!(weight >= weightMin && weight <= weightMax)) {
      throw invalid(pool, `the weight ${weight} of ${shown}; allowed: ${weightMin} to ${weightMax}`);
    }
  }
  return new Map(entries);
}

function invalid(name: string, problem: string, cause?: unknown): DroverError {
  const pool = name.length > 80 ? `${name.slice(0, 80)}…` : name;
  return new DroverError({
    code: 'POOL_INVALID',
    advice: 'fix-input',
    message: name === '' ? `Pools invalid: ${problem}` : `Pool ${JSON.stringify(pool)} invalid: ${problem}`,
    details: { pool },
    ...(cause === undefined ? {} : { cause }),
  });
}
