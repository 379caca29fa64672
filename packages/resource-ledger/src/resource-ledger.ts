import { DroverError } from '@drover/lease-kit';

/** What holds a reservation. `attempt` is a lease's attempt; the others are the machine's use outside of leases. */
export type OwnerKind = 'attempt' | 'abandoned-attempt' | 'lan-job' | 'sandbox';

/** Who holds a reservation: unique by kind and id. */
export interface ResourceOwner {
  readonly kind: OwnerKind;
  /** At most 512 characters, e.g. an attempt's key. */
  readonly id: string;
}

/** What an owner wants. */
export interface ResourceClaim {
  /** Counted resources by name; whole numbers from 0. Absent asks for none. */
  readonly resources?: Readonly<Record<string, number>>;
  /** Nothing else may be reserved beside it. Default false. */
  readonly exclusive?: boolean;
}

/** Why a claim was not granted. */
export interface ResourceShortage {
  /**
   * - `RESOURCE_UNKNOWN`: the machine has no resource of that name; it never will.
   * - `RESOURCE_TOO_LARGE`: more than the machine has in total.
   * - `RESOURCE_TAKEN`: more than is free now.
   * - `SLOTS_TAKEN`: as many attempts are held as the machine takes.
   * - `MACHINE_NOT_IDLE`: an exclusive claim, and something is reserved.
   * - `MACHINE_RESERVED`: somebody holds the machine exclusively.
   */
  readonly code:
    | 'RESOURCE_UNKNOWN'
    | 'RESOURCE_TOO_LARGE'
    | 'RESOURCE_TAKEN'
    | 'SLOTS_TAKEN'
    | 'MACHINE_NOT_IDLE'
    | 'MACHINE_RESERVED';
  /** What is wanted, what there is, who has it. */
  readonly message: string;
  /** True if the same claim may be granted once others have released theirs. */
  readonly passing: boolean;
}

/** What {@link createResourceLedger} starts from. */
export interface ResourceLedgerOptions {
  /** Counted resources of the machine by name, whole numbers from 0; at most 64 names. */
  readonly total: Readonly<Record<string, number>>;
  /** How many owners of kind `attempt` may hold reservations at once; at least 1. */
  readonly leasesMax: number;
}

/** One count of what a machine has and who holds it. Nothing waits in it: a claim is granted or refused at once. */
export interface ResourceLedger {
  readonly total: Readonly<Record<string, number>>;
  readonly leasesMax: number;
  /** Grants the whole claim, or nothing of it and says why. Throws `RESERVATION_EXISTS` for an owner that has one. */
  reserve(owner: ResourceOwner, claim: ResourceClaim): ResourceShortage | undefined;
  /** What {@link reserve} would answer now to an owner that holds nothing; takes nothing, and tells no listener. */
  shortage(kind: OwnerKind, claim: ResourceClaim): ResourceShortage | undefined;
  /**
   * Counts what is in use already, whether it fits or not: work that an earlier process left running. Throws
   * `RESERVATION_EXISTS`.
   */
  adopt(owner: ResourceOwner, claim: ResourceClaim): void;
  /** Hands a reservation to another owner without freeing it in between; false if `from` holds none. */
  transfer(from: ResourceOwner, to: ResourceOwner): boolean;
  /**
   * The machine has become another one: `total` is replaced. What is reserved stays reserved, also where it is more than
   * there is now. Throws `RESOURCES_INVALID`.
   */
  resize(total: Readonly<Record<string, number>>): void;
  /** Gives back what the owner holds; false if it holds nothing, so that releasing twice is harmless. */
  release(owner: ResourceOwner): boolean;
  /** What is reserved, by name; names of which nothing is reserved are left out. With `kinds`, by these owners alone. */
  used(kinds?: readonly OwnerKind[]): Record<string, number>;
  /** What the machine uses outside of leases: all owners but those of kind `attempt`. */
  usedElsewhere(): Record<string, number>;
  /** What is left of every resource; never below 0. */
  free(): Record<string, number>;
  /** How many more attempts may be reserved. */
  slotsFree(): number;
  /** True if nobody holds a reservation. */
  readonly idle: boolean;
  /** Calls `listener` after every change, at once. Returns how to stop. At most 64 listeners. */
  onChange(listener: () => void): () => void;
  /**
   * Calls `listener` whenever {@link reserve} refuses, at once: whoever could make room may hold back then, so that a large or
   * exclusive claim finds it when it is made again. Returns how to stop. At most 64 listeners.
   */
  onRefused(listener: (refused: RefusedClaim) => void): () => void;
}

/** A claim that was not granted. */
export interface RefusedClaim {
  readonly owner: ResourceOwner;
  readonly shortage: ResourceShortage;
}

interface Entry {
  readonly owner: ResourceOwner;
  readonly resources: readonly (readonly [name: string, amount: number])[];
  readonly exclusive: boolean;
}

const resourcesMax = 64;
const listenersMax = 64;
const keyOf = (owner: ResourceOwner): string => `${owner.kind}:${owner.id}`;

/** Starts an empty ledger. Throws `RESOURCES_INVALID` for totals or bounds that are not whole numbers. */
export function createResourceLedger(options: ResourceLedgerOptions): ResourceLedger {
  let total = checkResources(options.total, 'total');
  const { leasesMax } = options;
  if (!Number.isSafeInteger(leasesMax) || leasesMax < 1) {
    throw invalid(`leasesMax must be a whole number from 1, not ${leasesMax}`);
  }
  const entries = new Map<string, Entry>();
  const sums = new Map<string, number>();
  const listeners = new Set<() => void>();
  const refusedListeners = new Set<(refused: RefusedClaim) => void>();
  let attempts = 0;
  let exclusives = 0;

  const changed = () => {
    for (const listener of [...listeners]) listener();
  };
  const put = (entry: Entry, sign: 1 | -1) => {
    if (sign === 1) entries.set(keyOf(entry.owner), entry);
    else entries.delete(keyOf(entry.owner));
    for (const [name, amount] of entry.resources) {
      const sum = (sums.get(name) ?? 0) + sign * amount;
      if (sum === 0) sums.delete(name);
      else sums.set(name, sum);
    }
    if (entry.owner.kind === 'attempt') attempts += sign;
    if (entry.exclusive) exclusives += sign;
  };
  const entryOf = (owner: ResourceOwner, claim: ResourceClaim): Entry => {
    if (entries.has(keyOf(owner))) {
      throw new DroverError({
        code: 'RESERVATION_EXISTS',
        advice: 'conflict',
        message: `${keyOf(owner)} holds a reservation already; release it first`,
      });
    }
    const resources = Object.entries(checkResources(claim.resources ?? {}, 'resources')).filter(([, n]) => n > 0);
    return { owner, resources, exclusive: claim.exclusive ?? false };
  };
  const holdersOf = (name: string): string => {
    const holders = [...entries.values()].filter((entry) => entry.resources.some(([held]) => held === name));
    return holders
      .slice(0, 3)
      .map((entry) => keyOf(entry.owner))
      .concat(holders.length > 3 ? [`${holders.length - 3} more`] : [])
      .join(', ');
  };
  const shortageFor = (entry: Entry): ResourceShortage | undefined => {
    for (const [name, wanted] of entry.resources) {
      const has = total[name];
      if (has === undefined) {
        const known = Object.keys(total).join(', ') || 'none';
        return {
          code: 'RESOURCE_UNKNOWN',
          message: `wants ${wanted} ${name}, and this machine has no such resource; it has: ${known}`,
          passing: false,
        };
      }
      if (wanted > has) {
        return {
          code: 'RESOURCE_TOO_LARGE',
          message: `wants ${wanted} ${name}, and this machine has ${has}`,
          passing: false,
        };
      }
    }
    if (exclusives > 0) {
      const holder = [...entries.values()].find((other) => other.exclusive)!;
      return {
        code: 'MACHINE_RESERVED',
        message: `${keyOf(holder.owner)} holds the machine for itself`,
        passing: true,
      };
    }
    if (entry.exclusive && entries.size > 0) {
      return {
        code: 'MACHINE_NOT_IDLE',
        message: `wants the machine for itself, and ${entries.size} others hold some of it`,
        passing: true,
      };
    }
    if (entry.owner.kind === 'attempt' && attempts >= leasesMax) {
      return { code: 'SLOTS_TAKEN', message: `holds ${attempts} attempts, at most ${leasesMax}`, passing: true };
    }
    for (const [name, wanted] of entry.resources) {
      const free = Math.max(0, total[name]! - (sums.get(name) ?? 0));
      if (wanted > free) {
        return {
          code: 'RESOURCE_TAKEN',
          message: `wants ${wanted} ${name}, and ${free} of ${total[name]!} are free; held by ${holdersOf(name)}`,
          passing: true,
        };
      }
    }
    return undefined;
  };
  const used = (kinds?: readonly OwnerKind[]): Record<string, number> => {
    if (!kinds) return Object.fromEntries(sums);
    const result: Record<string, number> = {};
    for (const entry of entries.values()) {
      if (!kinds.includes(entry.owner.kind)) continue;
      for (const [name, amount] of entry.resources) result[name] = (result[name] ?? 0) + amount;
    }
    return result;
  };

  return {
    get total() {
      return total;
    },
    leasesMax,
    resize(wanted) {
      total = checkResources(wanted, 'total');
      changed();
    },
    reserve(owner, claim) {
      const entry = entryOf(owner, claim);
      const shortage = shortageFor(entry);
      if (shortage) {
        for (const listener of [...refusedListeners]) listener({ owner, shortage });
        return shortage;
      }
      put(entry, 1);
      changed();
      return undefined;
    },
    shortage: (kind, claim) => shortageFor(entryOf({ kind, id: '' }, claim)),
    adopt(owner, claim) {
      put(entryOf(owner, claim), 1);
      changed();
    },
    transfer(from, to) {
      const entry = entries.get(keyOf(from));
      if (!entry) return false;
      put(entry, -1);
      put({ ...entry, owner: to }, 1);
      changed();
      return true;
    },
    release(owner) {
      const entry = entries.get(keyOf(owner));
      if (!entry) return false;
      put(entry, -1);
      changed();
      return true;
    },
    used,
    usedElsewhere() {
      return attempts === entries.size ? {} : used(['abandoned-attempt', 'lan-job', 'sandbox']);
    },
    free() {
      return Object.fromEntries(
        Object.entries(total).map(([name, has]) => [name, Math.max(0, has - (sums.get(name) ?? 0))]),
      );
    },
    slotsFree: () => Math.max(0, leasesMax - attempts),
    get idle() {
      return entries.size === 0;
    },
    onChange: (listener) => addListener(listeners, listener),
    onRefused: (listener) => addListener(refusedListeners, listener),
  };
}

function addListener<Listener>(listeners: Set<Listener>, listener: Listener): () => void {
  if (listeners.size >= listenersMax) {
    throw new DroverError({
      code: 'LISTENERS_TOO_MANY',
      advice: 'exhausted',
      message: `a ledger has at most ${listenersMax} listeners`,
    });
  }
  listeners.add(listener);
  return () => void listeners.delete(listener);
}

function checkResources(resources: Readonly<Record<string, number>>, where: string): Readonly<Record<string, number>> {
  const names = Object.entries(resources);
  if (names.length > resourcesMax) throw invalid(`${where} names ${names.length} resources, at most ${resourcesMax}`);
  for (const [name, amount] of names) {
    if (!Number.isSafeInteger(amount) || amount < 0) {
      throw invalid(`${where}: ${name} must be a whole number from 0, not ${amount}`);
    }
  }
  return { ...resources };
}

const invalid = (message: string): DroverError =>
  new DroverError({ code: 'RESOURCES_INVALID', advice: 'fix-input', message });
