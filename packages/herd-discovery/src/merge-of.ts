import type { AgentFinder, FindOptions, FoundAgent } from '@drover/herd-protocol';
import { agentsMax } from './agent-search.ts';
import { mergeFoundAgents } from './merge-found-agents.ts';

/**
 * All of these finders at the same time: an agent that several find is one, with the addresses of all. A finder that throws
 * ends on its own, told to `onFailure`; if all do, the first failure is thrown.
 */
export function mergeOf(finders: readonly AgentFinder[], onFailure?: (error: unknown) => void): AgentFinder {
  return { find: (options) => findByAll(finders, onFailure, options) };
}

async function* findByAll(
  finders: readonly AgentFinder[],
  onFailure: ((error: unknown) => void) | undefined,
  options: FindOptions | undefined,
): AsyncGenerator<FoundAgent, void, undefined> {
  const found = new Map<string, FoundAgent>();
  const news = new Set<string>();
  const failures: unknown[] = [];
  const stop = new AbortController();
  const signal = options?.signal === undefined ? stop.signal : AbortSignal.any([options.signal, stop.signal]);
  let wake = Promise.withResolvers<void>();
  let running = finders.length;
  const runs = finders.map(async (finder) => {
    try {
      for await (const agent of finder.find({ ...options, signal })) {
        const before = found.get(agent.agentId);
        const merged = before === undefined ? agent : mergeFoundAgents(before, agent);
        if (merged === undefined || (before === undefined && found.size >= agentsMax)) continue;
        found.set(agent.agentId, merged);
        news.add(agent.agentId);
        wake.resolve();
      }
    } catch (error) {
      failures.push(error);
      onFailure?.(error);
    } finally {
      running -= 1;
      wake.resolve();
    }
  });
  try {
    for (;;) {
      for (const agentId of news) {
        news.delete(agentId);
        yield found.get(agentId)!;
      }
      if (running === 0) break;
      await wake.promise;
      wake = Promise.withResolvers();
    }
    if (finders.length > 0 && failures.length === finders.length) throw failures[0];
  } finally {
    stop.abort();
    await Promise.all(runs);
  }
}
