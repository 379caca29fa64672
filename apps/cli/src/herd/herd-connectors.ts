import { createRemoteContentStore } from '@drover/content-store-remote';
import { createLegacyConnector } from '@drover/herd-bridge/client';
import { HerdTrust, herdTrustDir, unpairedTls } from '@drover/herd-pairing/client';
import type { FoundAgent, HerdConnector } from '@drover/herd-protocol';
import { createHerdConnector, type HerdTlsSource } from '@drover/herd-service/client';
import { isDroverError } from '@drover/lease-kit';
import type { CommandContext } from '../command-context.ts';

/** How agents are reached. */
export interface HerdConnectorsOptions {
  /** Agents that this user is not paired with are reached too, and may be anybody. */
  readonly unpaired: boolean;
  readonly lostAfterMs?: number | undefined;
  /** How long an original agent may say nothing. Absent: for ever. */
  readonly legacySilenceMs?: number | undefined;
  /** Jobs of an original agent share one folder, as those of original clients do. Default: each has its own. */
  readonly isLegacyFolderShared?: boolean | undefined;
}

/** Knows the certificates of this user's pairings. */
export function herdTls({ unpaired }: HerdConnectorsOptions, context: CommandContext): HerdTlsSource {
  const trust = new HerdTrust(herdTrustDir(context.env));
  return {
    async tlsFor(agent, signal) {
      try {
        const { agentId: _, ...tls } = await trust.tlsFor(agent, signal);
        return tls;
      } catch (error) {
        if (!unpaired || !isDroverError(error, 'NOT_PAIRED')) throw error;
        const { agentId: _, ...tls } = unpairedTls;
        return tls;
      }
    },
  };
}

/** The connectors of `drover herd run`, one for each protocol. `onNote` is told what a person should know of an original agent. */
export function herdConnectors(
  options: HerdConnectorsOptions,
  context: CommandContext,
  onNote: (agent: FoundAgent, text: string) => void,
): HerdConnector[] {
  return [
    createHerdConnector(
      { lostAfterMs: options.lostAfterMs },
      {
        trust: herdTls(options, context),
        // On a LAN, compressing costs more time than it saves.
        contentOver: (transport) => createRemoteContentStore({ compression: 'never' }, { transport }),
      },
    ),
    createLegacyConnector(
      {
        silenceLimitMs: options.legacySilenceMs,
        folder: options.isLegacyFolderShared === true ? 'shared' : 'own',
      },
      { onNote },
    ),
  ];
}
