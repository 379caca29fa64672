/** How a bridge takes jobs of original clients. Nothing of it proves who a client is. */
export interface HerdBridgeOptions {
  /** Who may ask and send jobs: `ADDRESS/BITS` or `ADDRESS`, at least one. Others get no answer. */
  readonly networks: readonly string[];
  /** Folder of the bridge's own, emptied at its start: for files on their way into the content store. */
  readonly spoolFolder: string;
  /** Address to listen at. Default `0.0.0.0`. */
  readonly host?: string | undefined;
  /** UDP port. Default 2333, the one that original clients ask; 0: any that is free. */
  readonly discoveryPort?: number | undefined;
  /** TCP port. Default 2335, the one that original clients connect to; 0: any that is free. */
  readonly jobPort?: number | undefined;
  /** Jobs at once; further clients wait in line, without a word, as at an original agent. Default 1. */
  readonly jobsMax?: number | undefined;
  /** Clients that may wait in line. Default 64; a further one is told at once that its job has ended, without results. */
  readonly waitingMax?: number | undefined;
  /** How long a client may wait in line. Default 1 hour; then as above. */
  readonly waitMs?: number | undefined;
  /** Where tasks find their pipes. Default `/tmp`, where original programs look. */
  readonly pipesFolder?: string | undefined;
  /** What a pipe is: a FIFO, which RLSimion opens, or a Unix socket, to which .NET programs connect. Default `fifo`. */
  readonly pipeKind?: 'fifo' | 'socket' | undefined;
  /** How long a client may take to say that it takes this agent. Default 10 s. */
  readonly acquireMs?: number | undefined;
  /** How long a client may take for each 256 KiB of results, and for each 256 KiB of its job. Default 30 s. */
  readonly stallMs?: number | undefined;
  /** How long a job goes on whose client has closed its half of the connection: genuine ones do so only to go. Default 5 s. */
  readonly halfClosedMs?: number | undefined;
  /** How long a cancelled job is waited for. Default 30 s. */
  readonly cancelMs?: number | undefined;
  /** How long a connection stays after its last byte was written, for what the client still sends. Default 10 s. */
  readonly lingerMs?: number | undefined;
  /** Tasks of a job. Default 4,096. */
  readonly tasksMax?: number | undefined;
  /** Inputs and outputs of a job. Default 10,000. */
  readonly filesMax?: number | undefined;
  /** Bytes of all inputs of a job; each may have up to 2,147,483,647. Default 16 GiB. */
  readonly inputsBytesMax?: number | undefined;
}

/** The same with what is absent filled in. */
export type FullBridgeOptions = { readonly [Name in keyof HerdBridgeOptions]-?: NonNullable<HerdBridgeOptions[Name]> };

const defaults = {
  host: '0.0.0.0',
  discoveryPort: 2333,
  jobPort: 2335,
  jobsMax: 1,
  waitingMax: 64,
  waitMs: 60 * 60 * 1000,
  pipesFolder: '/tmp',
  pipeKind: 'fifo',
  acquireMs: 10_000,
  stallMs: 30_000,
  halfClosedMs: 5_000,
  cancelMs: 30_000,
  lingerMs: 10_000,
  tasksMax: 4_096,
  filesMax: 10_000,
  inputsBytesMax: 16 * 1024 ** 3,
} as const;

/** What `options` mean. */
export function fullBridgeOptions(options: HerdBridgeOptions): FullBridgeOptions {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  return { ...defaults, ...(given as unknown as HerdBridgeOptions) } as FullBridgeOptions;
}
