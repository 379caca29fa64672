import type { ConnectionOptions } from 'node:tls';
import { createClient, type Transport } from '@connectrpc/connect';
import type { ContentStore } from '@drover/content-store';
import { HerdService, type AgentAddress, type FoundAgent, type HerdConnector } from '@drover/herd-protocol';
import type { DroverError } from '@drover/lease-kit';
import { createAgentConnection, type AgentConnection } from './agent-connection.ts';
import { connectFailure } from './connect-failures.ts';
import { DroverAgentLink } from './drover-agent-link.ts';
import { SmallFiles } from './small-files.ts';

/** How agents are reached. */
export interface HerdConnectorOptions {
  /** How long the first call to an address may take. Default 10 s. */
  readonly connectTimeoutMs?: number | undefined;
  /** How long a job is resumed for after its stream broke. Default: the agent's grace. */
  readonly lostAfterMs?: number | undefined;
}

/** Who works together in a connector. */
export interface HerdConnectorDeps {
  readonly trust: HerdTlsSource;
  /** The blobs of an agent, over a transport to it: the Remote Execution API. */
  readonly contentOver: (transport: Transport) => ContentStore;
}

/** Knows by which certificates agents and this client know each other. */
export interface HerdTlsSource {
  /** Options of TLS for an agent. Throws `NOT_PAIRED`, `CERTIFICATE_EXPIRED`, `AGENT_NOT_TRUSTED`. */
  tlsFor(
    agent: { readonly agentId: string; readonly address: AgentAddress },
    signal: AbortSignal,
  ): Promise<ConnectionOptions>;
}

const connectTimeoutDefaultMs = 10_000;
/** Ways to one agent that are tried. */
const addressesMax = 4;

/** Reaches Drover's agents: gRPC over TLS with the certificate of the client's pairing, on one connection for each agent. */
export function createHerdConnector(options: HerdConnectorOptions, deps: HerdConnectorDeps): HerdConnector {
  const connectTimeoutMs = options.connectTimeoutMs ?? connectTimeoutDefaultMs;

  const smallFiles = new SmallFiles();
  let links = 0;
  const onClosed = (): void => {
    if (--links === 0) smallFiles.clear();
  };

  const connectAt = async (agent: FoundAgent, address: AgentAddress, signal: AbortSignal): Promise<AgentConnection> => {
    const { agentId } = agent;
    const connection = createAgentConnection(address, await deps.trust.tlsFor({ agentId, address }, signal));
    try {
      // The first call shows that each end takes the other's certificate.
      await createClient(HerdService, connection.transport).getAgent({}, { signal, timeoutMs: connectTimeoutMs });
      return connection;
    } catch (error) {
      connection[Symbol.dispose]();
      signal.throwIfAborted();
      throw connectFailure(error, agent);
    }
  };

  return {
    speaksTo: ({ protocol }) => protocol === 'drover',
    async connect(agent, signal) {
      let failure: DroverError | undefined;
      for (const address of agent.addresses.slice(0, addressesMax)) {
        signal.throwIfAborted();
        try {
          const connection = await connectAt(agent, address, signal);
          const content = deps.contentOver(connection.transport);
          links += 1;
          const { lostAfterMs } = options;
          return new DroverAgentLink(agent, { connection, content, smallFiles, onClosed, lostAfterMs });
        } catch (error) {
          signal.throwIfAborted();
          // What the first way says is what people know the agent by; another way may still lead there.
          failure ??= error as DroverError;
        }
      }
      throw failure ?? connectFailure(new Error('no address of it is known'), agent);
    },
  };
}
