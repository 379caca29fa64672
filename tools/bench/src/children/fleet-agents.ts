import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import { EmptySchema } from '@bufbuild/protobuf/wkt';
import { createLeaseAgent, type LeaseAgent } from '@drover/lease-agent';
import type { LeaseClient, LeaseHandler } from '@drover/lease-kit';
import { createLeaseClient } from '@drover/lease-transport';
import { agentIdHeader } from '../agent-id-header.ts';
import { serveParent } from '../child-process.ts';
import { noopLeaseType } from '../noop-lease-type.ts';

/** A part of the fleet: agents of this process, each with a connection of its own. */
export interface FleetAgentsStart {
  readonly url: string;
  /** Certificate that the server shows; for `https:`. */
  readonly ca?: string;
  readonly idPrefix: string;
  readonly count: number;
}

/** What a part of the fleet answers. */
export type FleetAgentsMethods = typeof methods;

const running = new AsyncDisposableStack();
const agents: LeaseAgent[] = [];
/** Messages that each agent has sent on its links. */
let sent: number[] = [];
/** Links and sessions that failed, by error code. */
let failures: Record<string, number> = {};

const handler: LeaseHandler<typeof EmptySchema, typeof EmptySchema> = {
  type: noopLeaseType,
  run: () => Promise.resolve({ kind: 'completed', output: create(EmptySchema) }),
};
/** Agents that start at the same time, so that the start is no storm. */
const startsAtOnce = 25;

async function start({ url, ca, idPrefix, count }: FleetAgentsStart): Promise<void> {
  const root = await mkdtemp(join(tmpdir(), 'drover-bench-fleet-'));
  running.defer(() => rm(root, { recursive: true, force: true }));
  running.defer(async () => {
    await Promise.allSettled(agents.map((agent) => agent.stop({ how: 'cancel' })));
  });
  sent = Array.from({ length: count }, () => 0);
  let next = 0;
  const starter = async (): Promise<void> => {
    while (next < count) {
      const index = next++;
      const agentId = `${idPrefix}-${index}`;
      const client = createLeaseClient({
        baseUrl: url,
        headers: { [agentIdHeader]: agentId },
        ...(ca === undefined ? {} : { tls: { ca } }),
      });
      running.defer(() => client.close());
      const agent = createLeaseAgent(
        { stateDir: join(root, agentId), agentId, leasesMax: 4 },
        {
          client: counting(client, index),
          handlers: [handler as LeaseHandler],
          onEvent(event) {
            if (event.type !== 'session-failed' && event.type !== 'link-lost') return;
            const name = `${event.type} ${event.code}`;
            failures[name] = (failures[name] ?? 0) + 1;
          },
        },
      );
      agents.push(agent);
      await agent.start();
    }
  };
  await Promise.all(Array.from({ length: startsAtOnce }, starter));
}

function counting(client: LeaseClient, index: number): LeaseClient {
  return {
    openSession: (request, signal) => client.openSession(request, signal),
    appendLog: (request, signal) => client.appendLog(request, signal),
    fetchSecrets: (request, signal) => client.fetchSecrets(request, signal),
    link(signal) {
      const link = client.link(signal);
      return {
        messages: link.messages,
        send(message) {
          sent[index]! += 1;
          link.send(message);
        },
        close: () => link.close(),
        [Symbol.asyncDispose]: () => link[Symbol.asyncDispose](),
      };
    },
  };
}

const methods = {
  start,
  /** Agents that have a session and a link now. */
  linked: () => agents.filter((agent) => agent.status().session?.linked === true).length,
  /** Links and sessions that failed since the last call, by what happened and why. */
  takeFailures() {
    const counts = failures;
    failures = {};
    return counts;
  },
  /** Messages since the last call: of the agent that sent fewest, and of all. */
  takeSent() {
    const counts = sent;
    sent = counts.map(() => 0);
    return { fewest: counts.reduce((a, b) => Math.min(a, b), Infinity), all: counts.reduce((a, b) => a + b, 0) };
  },
};

serveParent(methods, () => running.disposeAsync());
