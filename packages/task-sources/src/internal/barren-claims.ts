import type { AgentView } from '@drover/lease-kit';
import type { Properties } from '@drover/lease-matching';

/**
 * Which claims came back short since work was last signalled: repeating one for the same agent and classes would find
 * nothing. It keeps a lease that nobody may take (all suitable agents have refused it) from costing a statement at every ask.
 */
export class BarrenClaims {
  #known = new WeakMap<Properties, Set<string>>();

  /** Forgets everything: there may be new work. */
  clear(): void {
    this.#known = new WeakMap();
  }

  add(view: AgentView, classKey: string): void {
    const keys = this.#known.get(view.properties);
    if (keys === undefined) this.#known.set(view.properties, new Set([classKey]));
    else keys.add(classKey);
  }

  has(view: AgentView, classKey: string): boolean {
    return this.#known.get(view.properties)?.has(classKey) ?? false;
  }
}
