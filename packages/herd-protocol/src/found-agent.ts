/** How to reach a found agent. */
export interface AgentAddress {
  /** IPv4 or IPv6 address, a link-local one with its zone (`fe80::1%eth0`), or a host name. */
  readonly host: string;
  /** TCP port of its herd services. */
  readonly port: number;
}

/** Share of something countable that is free. */
export interface FreeOf {
  readonly total: number;
  readonly free: number;
}

/** An agent on the LAN, as it answered last. What it did not say is absent. */
export interface FoundAgent {
  /** Unique in the herd. An agent of the original protocol has none; it is `legacy:` and its address. */
  readonly agentId: string;
  readonly protocol: 'drover' | 'legacy';
  /** For people: its host name, or its address. */
  readonly name: string;
  /** Each way that it was seen, the first that answered first; at least one. */
  readonly addresses: readonly AgentAddress[];
  readonly availability: 'available' | 'busy' | 'closed';
  /** Version of its program. */
  readonly version: string;
  /** E.g. `linux-x64`. */
  readonly architecture: string;
  /** Logical processors. */
  readonly processors: number;
  readonly slots: FreeOf;
  /** In bytes. An agent of the original protocol says either the whole or what is free; then both are that. */
  readonly ram: FreeOf;
  /** Share of its processors in use, 0 to 1. */
  readonly load: number;
  readonly gpus: readonly string[];
  readonly pools: readonly string[];
  /** SHA-256 of its TLS certificate in DER, lower-case hexadecimal. Absent for the original protocol, and before it was asked. */
  readonly certificateSha256?: string | undefined;
  /** Its Ed25519 public key, 32 bytes. */
  readonly key?: Uint8Array | undefined;
  /** True if this client is paired with it and the reply was signed by the key that it is known by. */
  readonly trusted: boolean;
  /** From request to reply, in ms; absent if it was not asked by UDP. */
  readonly roundTripMs?: number | undefined;
  /** Pairs that a reply held beyond the known ones: an original agent's further elements. */
  readonly extra?: Readonly<Record<string, string>> | undefined;
}

/** What bounds a search. */
export interface FindOptions {
  /** How long replies are waited for. Default 1,000 ms. */
  readonly timeoutMs?: number | undefined;
  /** Aborted: the search ends at once, with what was found. */
  readonly signal?: AbortSignal | undefined;
}

/** Finds agents: by UDP, from a list, by DNS. */
export interface AgentFinder {
  /**
   * Yields an agent when it is found, and again when more of it becomes known (another address, say); at most 10,000 agents.
   * Ends after the time, or when all that can answer have. Throws where nothing can be asked at all, e.g. `NO_INTERFACE`.
   */
  find(options?: FindOptions): AsyncIterable<FoundAgent>;
}
