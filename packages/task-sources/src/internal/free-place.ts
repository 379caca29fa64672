import type { AgentView, LeaseRequirements } from '@drover/lease-kit';
import { capacityFor, type FreeCapacity } from '@drover/lease-matching';
import { countResources, resourcesLeft } from '../agent-traits.ts';

/** What an agent has left while a round hands out its places. */
export class FreePlace {
  readonly view: AgentView;
  #slotsFree: number;
  #idle: boolean;
  #exclusivelyHeld = false;
  readonly #taken: Record<string, number> = {};

  constructor(view: AgentView) {
    this.view = view;
    this.#slotsFree = view.leasesFree;
    this.#idle = view.idle;
  }

  get slotsFree(): number {
    return this.#exclusivelyHeld ? 0 : this.#slotsFree;
  }

  /** How many leases of equal requirements fit now. */
  capacity(requirements: LeaseRequirements): number {
    const free: FreeCapacity = {
      slotsFree: this.#slotsFree,
      resourcesFree: requirements.resources === undefined ? {} : resourcesLeft(this.view.resourcesFree, this.#taken),
      idle: this.#idle,
      exclusivelyHeld: this.#exclusivelyHeld,
    };
    return capacityFor(requirements, free);
  }

  /** Counts a lease that was bound to the agent. */
  take(requirements: LeaseRequirements): void {
    this.#slotsFree -= 1;
    this.#idle = false;
    this.#exclusivelyHeld ||= requirements.exclusive === true;
    countResources(this.#taken, requirements.resources, 1);
  }
}
