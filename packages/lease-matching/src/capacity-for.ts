import type { FreeCapacity } from './agent-offer.ts';
import { amountOf, neededResources, type Requirements } from './requirements.ts';

/**
 * How many leases of the same requirements an agent can start now, by its free slots and resources alone: 0 or 1 for
 * exclusive ones, never negative. It does not look at pool, condition or state; `match` does.
 */
export function capacityFor(requirements: Requirements, free: FreeCapacity): number {
  if (free.exclusivelyHeld) return 0;
  let capacity = requirements.exclusive === true ? (free.idle ? 1 : 0) : Number.POSITIVE_INFINITY;
  capacity = Math.min(capacity, free.slotsFree);
  for (const [name, amount] of neededResources(requirements)) {
    capacity = Math.min(capacity, Math.floor(amountOf(free.resourcesFree, name) / amount));
  }
  return Math.max(0, capacity);
}
