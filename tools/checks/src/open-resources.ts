/** What {@link settledLeftovers} compares, and how it looks and waits. */
export interface LeftoverDeps {
  /** Names of the resources that were open before. */
  readonly before: readonly string[];
  /** Names of what is open now, one each. */
  readonly active: () => readonly string[];
  /** Waits a moment; must leave nothing open. */
  readonly pause: () => Promise<unknown>;
}

// A closed socket needs some turns of the loop, a killed child process some more.
const pausesMax = 50;

/** What is open beyond `before` after a short time to settle, e.g. `2 × Timeout`; empty when all is closed. */
export async function settledLeftovers(deps: LeftoverDeps): Promise<string[]> {
  for (let pause = 0; ; pause += 1) {
    const leftovers = extraOf(deps.active(), deps.before);
    if (leftovers.length === 0 || pause === pausesMax) return leftovers;
    await deps.pause();
  }
}

function extraOf(now: readonly string[], known: readonly string[]): string[] {
  const counts = new Map<string, number>();
  for (const name of now) counts.set(name, (counts.get(name) ?? 0) + 1);
  for (const name of known) counts.set(name, (counts.get(name) ?? 0) - 1);
  return [...counts].filter(([, count]) => count > 0).map(([name, count]) => `${count} × ${name}`);
}
