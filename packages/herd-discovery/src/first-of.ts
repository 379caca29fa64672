import type { AgentFinder, FindOptions, FoundAgent } from '@drover/herd-protocol';

/**
 * The first of these finders that finds anything, asked one after another, each for the whole time. One that throws is passed
 * over; if all do, what the last one threw is thrown.
 */
export function firstOf(finders: readonly AgentFinder[]): AgentFinder {
  return {
    async *find(options?: FindOptions): AsyncGenerator<FoundAgent, void, undefined> {
      let failure: { readonly error: unknown } | undefined;
      let hasLooked = false;
      for (const finder of finders) {
        let hasFound = false;
        try {
          for await (const agent of finder.find(options)) {
            hasFound = true;
            yield agent;
          }
          hasLooked = true;
        } catch (error) {
          if (hasFound) throw error;
          failure = { error };
        }
        if (hasFound || options?.signal?.aborted === true) return;
      }
      if (!hasLooked && failure !== undefined) throw failure.error;
    },
  };
}
