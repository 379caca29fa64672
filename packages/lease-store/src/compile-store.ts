import type { StoreContext } from './store-context.ts';

/** How much sandboxes are apart, from least to most. */
export const isolationLevels = ['none', 'namespaces', 'vm'] as const;

/** What a sandbox is apart by. */
export type IsolationLevel = (typeof isolationLevels)[number];

/** A tenant of the compile farm. */
export interface CompileTenantDraft {
  /** 1 to 64 lower-case letters, digits, `.`, `_` and `-`. */
  readonly tenantId: string;
  readonly isEnabled: boolean;
  /** URL of the tenant's own OpenID Connect issuer; empty: none. */
  readonly issuer: string;
  /** Its tokens must be meant for this; not empty where there is an issuer. */
  readonly audience: string;
  /** The claim that names the tenant; empty: every token of the issuer for the audience is the tenant's. */
  readonly claim: string;
  /** What the claim must say, or hold in its list. */
  readonly claimValue: string;
  /** As which client people sign in, where they get a token, and what they ask for; told to anybody. */
  readonly clientId: string;
  readonly tokenUrl: string;
  readonly scope: string;
  /** Users of the fleet's own sign-in and API tokens who belong to the tenant, by name; at most 1,000. */
  readonly users: readonly string[];
  /** Images that its compiles may use, by digest, at most 256; empty: any that a worker has. */
  readonly images: readonly string[];
  /** Ids of the workers that it is kept to, at most 256; empty: any. */
  readonly workers: readonly string[];
  /** Its sandboxes are at least so much apart. */
  readonly isolation: IsolationLevel;
  /** Task tokens that are out at once, from their issue to the record of their compile or their expiry. */
  readonly compilesAtOnceMax: number;
  /** Task tokens of any 60 seconds. */
  readonly compilesPerMinuteMax: number;
}

/** A tenant as it is stored. */
export interface CompileTenantRecord extends CompileTenantDraft {
  /** The principal that wrote it last. */
  readonly changedBy: string;
  readonly changedAtMs: number;
}

/** What a worker says of itself when it registers. */
export interface CompileWorkerRegistration {
  /** HOST:PORT for clients. */
  readonly address: string;
  /** SHA-256 of its leaf certificate, in lower-case hexadecimal. */
  readonly certificateSha256: string;
  readonly driver: string;
  readonly isolation: IsolationLevel;
  /** What the driver found out, at most 64 facts. */
  readonly facts: Readonly<Record<string, string>>;
  readonly slotsTotal: number;
  readonly isParanoid: boolean;
  readonly version: string;
  /** E.g. `linux-x64`. */
  readonly architecture: string;
}

/** A sandbox that a worker has. */
export interface CompileWorkerSandbox {
  readonly sandboxId: string;
  readonly tenantId: string;
  readonly imageDigest: string;
  readonly state: 'starting' | 'running' | 'snapshotted';
  readonly execs: number;
}

/** What a worker does, as it said last. */
export interface CompileWorkerReport {
  readonly compiles: number;
  readonly slotsFree: number;
  /** 0 to 1. */
  readonly load: number;
  readonly imagesHeld: readonly string[];
  readonly imagesAdvertised: readonly string[];
  readonly sandboxes: readonly CompileWorkerSandbox[];
  readonly isDraining: boolean;
}

/** A worker that has registered. */
export interface CompileWorkerRecord {
  readonly workerId: string;
  /** Grows with each registration of any worker. */
  readonly epoch: number;
  readonly registration: CompileWorkerRegistration;
  readonly report: CompileWorkerReport;
  /** How long it had not been heard when the store answered. */
  readonly silentMs: number;
}

/** A session of a worker, as one process of it has it. */
export interface CompileWorkerRef {
  readonly workerId: string;
  /** Drawn by the process, in hexadecimal. */
  readonly instanceNonce: string;
}

/** A key that signs task tokens. Its times are those of the store, so that servers' clocks do not matter. */
export interface CompileKeyRecord {
  readonly keyId: string;
  /** Ed25519, 32 bytes, as base64url. */
  readonly publicKey: string;
  /** Private half, as its maker sealed it. */
  readonly sealedPrivateKey: string;
  readonly ageMs: number;
  /** Until it may sign; 0 or less: it may. Workers are told of it before. */
  readonly signsInMs: number;
  /** Until nothing that it has signed is valid. */
  readonly expiresInMs: number;
}

/** Task tokens that are out. */
export interface CompileUsage {
  /** Of the tenant, not ended and not expired. */
  readonly tenantPlaces: number;
  /** Of the tenant, issued within the last 60 s. */
  readonly tenantLastMinute: number;
  /** Of all tenants, by worker; registrations of before count too, until their tokens have expired. */
  readonly workerPlaces: ReadonlyMap<string, number>;
  /** Tenants that have any, this one included. */
  readonly tenantsActive: number;
}

/** Tokens for one worker. */
export interface CompilePlaceDraft {
  readonly workerId: string;
  readonly workerEpoch: number;
  readonly count: number;
}

/** What became of one compile; texts are cut to their bounds. */
export interface CompileRecordDraft {
  /** A UUID of the client. */
  readonly compileId: string;
  readonly tenantId: string;
  readonly workerId: string;
  readonly startedAtMs: number;
  readonly tookMs: number;
  readonly exitCode: number;
  readonly sandboxId: string;
  readonly isolation: string;
  readonly driver: string;
  readonly imageDigest: string;
  /** Digests in lower-case hexadecimal; empty: not known. */
  readonly compilerDigest: string;
  readonly sourceDigest: string;
  readonly outputDigest: string;
  readonly cacheKey: string;
  readonly flags: readonly string[];
}

/** A record of a compile, as it is stored. */
export interface CompileRecord extends CompileRecordDraft {
  /** Grows with each record. */
  readonly recordId: string;
}

/** Which records of compiles are asked for, the newest first. */
export interface CompileRecordQuery {
  /** `recordId` of the last one of the page before. */
  readonly before?: string;
  readonly tenantId?: string;
  readonly workerId?: string;
  readonly limit: number;
}

/** The compile farm: tenants, workers, the keys of task tokens, the tokens that are out, and what was compiled. */
export interface CompileStore {
  /** By id. `after` is the id of the last one of the page before. */
  tenants(
    page: { readonly after?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly CompileTenantRecord[]>;
  /** Adds it, or replaces all of the one of its id. `COMPILE_TENANT_INVALID`; `COMPILE_TENANTS_FULL` beyond 1,000. */
  putTenant(draft: CompileTenantDraft, context: StoreContext): Promise<CompileTenantRecord>;
  /** `COMPILE_TENANT_NOT_FOUND`. Tokens that are out stay valid until they expire. */
  removeTenant(tenantId: string, context: StoreContext): Promise<void>;

  /**
   * From now on the worker is this process: another one of before is fenced, and its registration void. The same process
   * again changes nothing. `COMPILE_WORKERS_FULL` beyond 1,000.
   */
  openWorker(worker: CompileWorkerRef, context: StoreContext): Promise<void>;
  /** Answers the epoch of the registration, which makes the one before void. `COMPILE_WORKER_SUPERSEDED` (`fenced`). */
  registerWorker(
    worker: CompileWorkerRef,
    registration: CompileWorkerRegistration,
    report: CompileWorkerReport,
    context: StoreContext,
  ): Promise<number>;
  /** What a worker does now. `COMPILE_WORKER_SUPERSEDED` (`fenced`) for an epoch or process that is not the current one. */
  reportWorker(
    worker: CompileWorkerRef & { readonly epoch: number },
    report: CompileWorkerReport,
    context: StoreContext,
  ): Promise<void>;
  /** Workers that have registered, by id; those that were not heard for a day are gone. */
  workers(
    page: { readonly after?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly CompileWorkerRecord[]>;

  /** Keys that have not expired, the newest first; at most 16. */
  keys(context: StoreContext): Promise<readonly CompileKeyRecord[]>;
  /**
   * Adds a key unless there is one younger than `unlessYoungerMs`; several servers may try at once. The first of all signs at
   * once, others after `signsAfterMs`. Answers all keys.
   */
  addKey(
    key: Pick<CompileKeyRecord, 'keyId' | 'publicKey' | 'sealedPrivateKey'> & {
      readonly signsAfterMs: number;
      readonly validMs: number;
    },
    unlessYoungerMs: number,
    context: StoreContext,
  ): Promise<readonly CompileKeyRecord[]>;

  /**
   * Counts tokens that are about to be issued, in one transaction: no two calls of one tenant run at once, on whatever server.
   * `choose` says which, from what is out; it does nothing else, may be called again, and a DroverError of it is thrown. They count
   * until they expire, or the record of a compile ends one.
   */
  reserve(
    request: { readonly tenantId: string; readonly validMs: number },
    choose: (usage: CompileUsage) => readonly CompilePlaceDraft[],
    context: StoreContext,
  ): Promise<readonly CompilePlaceDraft[]>;

  /**
   * Keeps records of compiles of one worker, at most 1,000, each compile once; each that is new ends a token of its tenant on
   * the worker.
   */
  recordCompiles(records: readonly CompileRecordDraft[], context: StoreContext): Promise<void>;
  /** Records, the newest first. */
  records(query: CompileRecordQuery, context: StoreContext): Promise<readonly CompileRecord[]>;
}
