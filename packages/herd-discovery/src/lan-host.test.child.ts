import type { FoundAgent } from '@drover/herd-protocol';
import { createLanFinder } from './lan-finder.ts';
import { startTestAgent } from './test-agent.fixture.ts';

/** What a host of a test network does. */
export type HostRequest =
  | { readonly do: 'agent'; readonly agentId: string }
  | { readonly do: 'counts' }
  | { readonly do: 'find'; readonly timeoutMs?: number; readonly interfaces?: readonly string[] };

let agent: Awaited<ReturnType<typeof startTestAgent>> | undefined;

async function answer(request: HostRequest): Promise<unknown> {
  if (request.do === 'agent') {
    agent = await startTestAgent(request.agentId, { interfacesCheckMs: 100 });
    return agent.listening;
  }
  if (request.do === 'counts') return agent?.counts();
  const found = new Map<string, FoundAgent>();
  for await (const one of createLanFinder(request).find(request)) found.set(one.agentId, one);
  return [...found.values()];
}

process.on('message', (request: HostRequest) => {
  void answer(request).then(
    (result) => process.send?.({ result }),
    (error: unknown) => process.send?.({ error: String(error) }),
  );
});
process.once('disconnect', () => void agent?.stop());
process.send?.({ result: 'ready' });
