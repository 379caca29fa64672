import { isDroverError, messageOf, type AgentContribution, type ServerContribution } from '@drover/lease-kit';
import { leaseTypeError } from './lease-type-errors.ts';
import type { LoadedPart } from './load-lease-type.ts';

/** What parts are made with. */
export interface CreateLeaseTypesOptions {
  /** The operator's tables, by the name of the package. */
  readonly tables: Readonly<Record<string, unknown>>;
  /** All that the app offers to a lease type, by name; each part gets those that it names. */
  readonly collaborators: (packageName: string, leaseType: string) => object;
}

/**
 * Makes what the parts bring, one after the other. Throws LEASE_TYPE_TWICE, LEASE_TYPE_NEEDS_UNKNOWN,
 * LEASE_TYPE_UNUSED_CONFIG, LEASE_TYPE_CONFIG_INVALID, and LEASE_TYPE_FAILED if a factory throws; what had been made is
 * disposed of then.
 */
export async function createLeaseTypes<Contribution extends ServerContribution | AgentContribution>(
  parts: readonly LoadedPart<Contribution>[],
  options: CreateLeaseTypesOptions,
): Promise<{ readonly contributions: readonly Contribution[] } & AsyncDisposable> {
  refuseTwice(parts);
  refuseUnusedTables(parts, options.tables);
  await using made = new AsyncDisposableStack();
  const contributions: Contribution[] = [];
  const planned = new Map<string, string>();
  for (const { packageName, part } of parts) {
    const offered = options.collaborators(packageName, part.type.name);
    const given = pickNeeded(packageName, part.needs, offered);
    const contribution = await createOne(packageName, () => part.create(options.tables[packageName], given as never));
    made.defer(async () => contribution[Symbol.asyncDispose]?.());
    if ('planner' in contribution && contribution.planner !== undefined) {
      refuseSecond(planned, contribution.planner.payloadType, packageName, 'plans the message');
    }
    contributions.push(contribution);
  }
  const kept = made.move();
  return { contributions, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function createOne<Contribution>(
  packageName: string,
  create: () => Promise<Contribution>,
): Promise<Contribution> {
  try {
    return await create();
  } catch (error) {
    if (isDroverError(error)) throw error;
    throw leaseTypeError('LEASE_TYPE_FAILED', packageName, `it cannot be made: ${messageOf(error)}`, error);
  }
}

function pickNeeded(packageName: string, needs: readonly string[], offered: object): object {
  const unknown = needs.filter((name) => !(name in offered));
  if (unknown.length > 0) {
    const has = Object.keys(offered).join(', ');
    throw leaseTypeError(
      'LEASE_TYPE_NEEDS_UNKNOWN',
      packageName,
      `it needs ${unknown.join(', ')}, which this app does not offer; it offers ${has}`,
    );
  }
  return Object.fromEntries(needs.map((name) => [name, offered[name as keyof typeof offered]]));
}

function refuseTwice(parts: readonly LoadedPart<unknown>[]): void {
  const names = new Map<string, string>();
  const payloads = new Map<string, string>();
  for (const { packageName, part } of parts) {
    refuseSecond(names, part.type.name, packageName, 'is named');
    refuseSecond(payloads, part.type.payload.typeName, packageName, 'takes the payload');
  }
}

function refuseSecond(seen: Map<string, string>, key: string, packageName: string, says: string): void {
  const other = seen.get(key);
  if (other !== undefined) {
    const who = other === packageName ? 'the same package, which is loaded already' : other;
    throw leaseTypeError('LEASE_TYPE_TWICE', packageName, `it ${says} ${key}, as does ${who}`);
  }
  seen.set(key, packageName);
}

function refuseUnusedTables(parts: readonly LoadedPart<unknown>[], tables: Readonly<Record<string, unknown>>): void {
  const names = parts.map(({ packageName }) => packageName);
  for (const name of Object.keys(tables)) {
    if (names.includes(name)) continue;
    throw leaseTypeError(
      'LEASE_TYPE_UNUSED_CONFIG',
      name,
      `[lease_type."${name}"] is configured and not loaded; loaded are ${names.join(', ')}`,
    );
  }
}
