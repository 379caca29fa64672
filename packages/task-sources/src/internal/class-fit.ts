import type { AgentView } from '@drover/lease-kit';
import { fitMismatch, type AgentOffer, type Properties, type Requirements } from '@drover/lease-matching';
import { readyStanding } from '../agent-traits.ts';

/** Most verdicts kept for one agent; beyond, they are forgotten and made anew. */
const verdictsMax = 4096;

/**
 * Whether agents could ever take leases of a class, remembered. An agent is known by its properties object: whoever makes
 * views gives the same one for as long as what the agent says about itself stands.
 */
export class ClassFit<Key> {
  readonly #verdicts = new WeakMap<Properties, Map<Key, boolean>>();

  /** True if the agent has a handler for the payload, is in the pool, meets the condition and is large enough. */
  fits(view: AgentView, key: Key, requirements: Requirements, payloadType: string): boolean {
    let verdicts = this.#verdicts.get(view.properties);
    if (verdicts === undefined) {
      verdicts = new Map();
      this.#verdicts.set(view.properties, verdicts);
    }
    const known = verdicts.get(key);
    if (known !== undefined) return known;
    if (verdicts.size >= verdictsMax) verdicts.clear();
    const verdict = view.payloadTypes.includes(payloadType) && fitMismatch(requirements, offerOf(view)) === undefined;
    verdicts.set(key, verdict);
    return verdict;
  }
}

function offerOf(view: AgentView): AgentOffer {
  return {
    ...readyStanding,
    agentId: view.agentId,
    pools: view.pools,
    properties: view.properties,
    slotsTotal: 1,
    slotsFree: view.leasesFree,
    resourcesTotal: view.resourcesTotal,
    resourcesFree: view.resourcesFree,
    idle: view.idle,
    exclusivelyHeld: false,
  };
}
