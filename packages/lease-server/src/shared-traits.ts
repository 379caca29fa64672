import type { AgentTraits } from '@drover/task-sources';

/** Distinct values that are kept; a fleet has far fewer, and one that has more starts over. */
const keptMax = 20_000;

/**
 * Keeps one of each of equal values: the machines of a fleet say mostly the same about themselves, and a server holds what
 * each of thousands said for as long as its session lasts.
 */
export class SharedTraits {
  readonly #kept = new Map<string, unknown>();

  /** The same traits, made of values that other sessions hold already. */
  share(traits: AgentTraits): AgentTraits {
    const properties = new Map<string, readonly string[]>();
    for (const [name, values] of traits.properties) {
      properties.set(this.#one(`name ${name}`, name), this.#one(`values ${JSON.stringify(values)}`, values));
    }
    return {
      ...traits,
      properties,
      pools: this.#one(`values ${JSON.stringify(traits.pools)}`, traits.pools),
      poolsAsked: this.#one(`values ${JSON.stringify(traits.poolsAsked)}`, traits.poolsAsked),
      payloadTypes: this.#one(`values ${JSON.stringify(traits.payloadTypes)}`, traits.payloadTypes),
      resourcesTotal: this.#one(`resources ${JSON.stringify(traits.resourcesTotal)}`, traits.resourcesTotal),
    };
  }

  #one<T>(key: string, value: T): T {
    const kept = this.#kept.get(key);
    if (kept !== undefined) return kept as T;
    if (this.#kept.size >= keptMax) this.#kept.clear();
    this.#kept.set(key, value);
    return value;
  }
}
