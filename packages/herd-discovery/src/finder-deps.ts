import type { Clock, Logger, Meter } from '@drover/lease-kit';
import type { InterfaceAddress } from './link-addresses.ts';
import type { SearchEvent } from './search-events.ts';

/** The agents that this client is paired with. */
export interface KnownAgents {
  /** Ed25519 public key of an agent, 32 bytes; undefined if this client is not paired with it. */
  keyOf(agentId: string): Uint8Array | undefined;
}

/** What finders work with. */
export interface FinderDeps {
  /** Absent: none is known, and no agent that is found is trusted. */
  readonly knownAgents?: KnownAgents | undefined;
  /** Called for what is met beside agents; not to throw. */
  readonly onEvent?: ((event: SearchEvent) => void) | undefined;
  readonly clock?: Clock | undefined;
  readonly logger?: Logger | undefined;
  readonly meter?: Meter | undefined;
  /** The interfaces of this machine; absent: asked of the platform. */
  readonly interfaces?: (() => readonly InterfaceAddress[]) | undefined;
}
