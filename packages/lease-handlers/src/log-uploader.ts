import {
  DroverError,
  isDroverError,
  messageOf,
  type AttemptLog,
  type Clock,
  type Logger,
  type ScheduledCall,
} from '@drover/lease-kit';
import type { SecretMask } from '@drover/lease-secrets';
import type { AttemptFolder, AttemptName } from './attempt-folder.ts';
import { checkLogName, logNameOf, spoolFileOf } from './log-name.ts';
import { SpooledLog, type SpoolListener } from './spooled-log.ts';

/** Bytes of a log on their way to the server. */
export interface LogPiece {
  readonly owner: AttemptName;
  readonly log: string;
  readonly offset: number;
  /** At most 256 KiB; the callee must not keep it. */
  readonly data: Uint8Array;
  /** No bytes will follow. */
  readonly complete: boolean;
}

/** Who works together in an uploader. */
export interface LogUploaderDeps {
  /** Hands bytes to the server and answers how many the log then has there. Throws DroverErrors. */
  readonly append: (piece: LogPiece, signal: AbortSignal) => Promise<number>;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Times of an uploader. */
export interface LogUploaderOptions {
  /** How long bytes wait for company before they are sent. Default 100 ms. */
  readonly batchDelayMs?: number;
  /** How often files that other processes write are looked at. Default 200 ms. */
  readonly watchMs?: number;
  /**
   * How long the end of a log waits for a server that is there and takes nothing. Default 30 s. While no server is there
   * the end waits: it could not be told anyway.
   */
  readonly stallMs?: number;
}

/** The logs of one attempt. */
export interface AttemptLogs {
  /** Opens a log, or gives the open one of that name. Throws `LOG_NAME_INVALID`, `LOGS_TOO_MANY`. */
  log(name: string): AttemptLog;
  /** True if a log was opened. */
  readonly used: boolean;
  /** How many bytes all of them are known to have. */
  readonly writtenBytes: number;
  /** True if the server has everything of every log, or will never have the rest. */
  readonly settled: boolean;
  /** Blots these values out of every log from now on, and shows what was {@link withhold}en. */
  mask(mask: SecretMask): void;
  /** Shows nothing until the secrets are known which may stand in what an earlier process left. */
  withhold(): void;
  /** Completes every log; resolves when the server has them, or will never have the rest. */
  complete(): Promise<void>;
  /** The attempt's link to the server has ended: nothing more is uploaded and nobody waits. */
  abandon(): Promise<void>;
}

/** Most logs of one attempt. */
export const logsMax = 256;
/** Most bytes of one piece. */
export const pieceSizeBytesMax = 256 * 1024;
/** Pieces in flight at once, each with its buffer. */
const uploadsMax = 4;
const retryMsMin = 250;
const retryMsMax = 10_000;

/** Codes after which the server will not take the rest of a log; the bytes stay in the spool until the attempt goes. */
const terminal = (error: unknown): boolean =>
  isDroverError(error) &&
  (error.code === 'LOG_FULL' || ['fix-input', 'not-found', 'conflict', 'denied'].includes(error.advice));

/**
 * Carries logs to the server while they are written, oldest change first, at most 4 pieces of 256 KiB in memory. It resumes
 * from what the server has: bytes are addressed by offset and a repeated piece changes nothing.
 */
export class LogUploader implements SpoolListener {
  readonly #deps: LogUploaderDeps;
  readonly #options: Required<LogUploaderOptions>;
  readonly #open = new Set<SpooledLog>();
  readonly #queue = new Set<SpooledLog>();
  readonly #active = new Set<SpooledLog>();
  readonly #watched = new Set<SpooledLog>();
  readonly #delayed = new Map<SpooledLog, ScheduledCall>();
  readonly #progressMs = new Map<SpooledLog, number>();
  readonly #buffers: Uint8Array[] = [];
  readonly #stop = new AbortController();
  #watchTimer: ScheduledCall | undefined;
  #retryMs = retryMsMin;
  #onlineSinceMs: number | undefined;

  constructor(deps: LogUploaderDeps, options: LogUploaderOptions = {}) {
    this.#deps = deps;
    this.#options = {
      batchDelayMs: options.batchDelayMs ?? 100,
      watchMs: options.watchMs ?? 200,
      stallMs: options.stallMs ?? 30_000,
    };
  }

  /** The logs of an attempt. With what an earlier process left, call {@link adopt} before its handler. */
  open(owner: AttemptName, folder: AttemptFolder): AttemptLogs {
    return new OpenLogs(owner, folder, this);
  }

  /** Takes up the spools that an earlier process left of this attempt. */
  async adopt(logs: AttemptLogs, folder: AttemptFolder): Promise<void> {
    for (const file of await folder.leftSpools()) {
      const name = logNameOf(folder.logsPath, file);
      if (name === undefined) continue;
      const log = (logs as OpenLogs).openLeft(name);
      await log.measure();
      this.changed(log);
    }
  }

  /** There is a session: uploads go on. */
  online(): void {
    this.#onlineSinceMs = this.#deps.clock.monotonicMs();
    this.#retryMs = retryMsMin;
    this.#work();
  }

  /** There is no session: nothing is sent until there is. */
  offline(): void {
    this.#onlineSinceMs = undefined;
  }

  changed(log: SpooledLog): void {
    if (log.settled || this.#stop.signal.aborted) return;
    if (log.ending || log.knownBytes - (log.committedBytes ?? 0) >= pieceSizeBytesMax) return this.#enqueue(log);
    if (this.#queue.has(log) || this.#active.has(log) || this.#delayed.has(log)) return;
    this.#delay(log, this.#options.batchDelayMs);
  }

  shared(log: SpooledLog): void {
    this.#watched.add(log);
    this.#watchTimer ??= this.#deps.clock.schedule(this.#options.watchMs, () => void this.#watch());
  }

  /** Stops all uploads and lets go of timers and files; what is on disk stays. Idempotent. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#watchTimer?.cancel();
    for (const timer of this.#delayed.values()) timer.cancel();
    this.#delayed.clear();
    this.#queue.clear();
    this.#watched.clear();
    await Promise.all([...this.#open].map((log) => log.close()));
    this.#open.clear();
  }

  /** Called for every log that is opened. */
  opened(log: SpooledLog): void {
    this.#open.add(log);
  }

  #delay(log: SpooledLog, delayMs: number): void {
    this.#delayed.get(log)?.cancel();
    this.#delayed.set(
      log,
      this.#deps.clock.schedule(delayMs, () => this.#enqueue(log)),
    );
  }

  #enqueue(log: SpooledLog): void {
    this.#delayed.get(log)?.cancel();
    this.#delayed.delete(log);
    this.#queue.add(log);
    this.#work();
  }

  #work(): void {
    if (this.#onlineSinceMs === undefined || this.#stop.signal.aborted) return;
    for (const log of this.#queue) {
      if (this.#active.size >= uploadsMax) return;
      if (this.#active.has(log)) continue;
      this.#queue.delete(log);
      this.#active.add(log);
      const buffer = this.#buffers.pop() ?? new Uint8Array(pieceSizeBytesMax);
      void this.#upload(log, buffer).finally(() => {
        this.#active.delete(log);
        if (this.#active.size === 0 && this.#queue.size === 0) this.#buffers.length = 0;
        else this.#buffers.push(buffer);
        this.#work();
      });
    }
  }

  /** One piece of a log; the log goes to the back of the queue for its next one. */
  async #upload(log: SpooledLog, buffer: Uint8Array): Promise<void> {
    if (log.settled || log.withheld) return;
    const { clock, logger } = this.#deps;
    try {
      const known = log.committedBytes;
      const size = known === undefined ? 0 : await log.read(buffer, known);
      const offset = known ?? 0;
      const complete = known !== undefined && log.ending && offset + size >= log.knownBytes;
      if (known !== undefined && size === 0 && !complete) return;
      const piece = { owner: log.owner, log: log.name, offset, data: buffer.subarray(0, size), complete };
      const committed = await this.#deps.append(piece, this.#stop.signal);
      this.#retryMs = retryMsMin;
      if (known === undefined || committed > known) this.#progressMs.set(log, clock.monotonicMs());
      else if (size > 0)
        throw new DroverError({ code: 'LOG_NOT_TAKEN', advice: 'unavailable', message: 'the server added nothing' });
      log.committedBytes = Math.min(committed, log.knownBytes);
      if (complete && committed >= offset + size) return await this.#settle(log);
      if (log.dirty) this.#queue.add(log);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      if (terminal(error)) {
        logger.warn({ ...log.owner, log: log.name, err: error }, 'the server does not take the rest of a log');
        return await this.#settle(log);
      }
      const sinceMs = Math.max(this.#onlineSinceMs ?? Infinity, this.#progressMs.get(log) ?? 0);
      if (log.ending && clock.monotonicMs() - sinceMs >= this.#options.stallMs) {
        logger.warn({ ...log.owner, log: log.name, reason: messageOf(error) }, 'the end of a log is not uploaded');
        return await this.#settle(log);
      }
      this.#delay(log, this.#retryMs);
      this.#retryMs = Math.min(retryMsMax, this.#retryMs * 2);
    }
  }

  async #settle(log: SpooledLog): Promise<void> {
    this.#watched.delete(log);
    this.#progressMs.delete(log);
    this.#open.delete(log);
    await log.settle();
  }

  /** Looks at the files that others write. */
  async #watch(): Promise<void> {
    for (const log of this.#watched) {
      if (log.ending || log.settled) this.#watched.delete(log);
      else if (await log.measure()) this.changed(log);
    }
    this.#watchTimer = undefined;
    if (this.#watched.size === 0 || this.#stop.signal.aborted) return;
    this.#watchTimer = this.#deps.clock.schedule(this.#options.watchMs, () => void this.#watch());
  }
}

class OpenLogs implements AttemptLogs {
  readonly #guard: { mask: SecretMask | undefined; withheld: boolean } = { mask: undefined, withheld: false };
  readonly #owner: AttemptName;
  readonly #folder: AttemptFolder;
  readonly #uploader: LogUploader;
  #logs: Map<string, SpooledLog> | undefined;
  #abandoned = false;

  constructor(owner: AttemptName, folder: AttemptFolder, uploader: LogUploader) {
    this.#owner = owner;
    this.#folder = folder;
    this.#uploader = uploader;
  }

  get used(): boolean {
    return this.#logs !== undefined;
  }

  get writtenBytes(): number {
    let bytes = 0;
    for (const log of this.#logs?.values() ?? []) bytes += log.knownBytes;
    return bytes;
  }

  get settled(): boolean {
    if (!this.#logs) return true;
    for (const log of this.#logs.values()) if (!log.settled) return false;
    return true;
  }

  log(name: string): AttemptLog {
    return this.#logs?.get(name) ?? this.#add(name, false);
  }

  openLeft(name: string): SpooledLog {
    return this.#logs?.get(name) ?? this.#add(name, true);
  }

  mask(mask: SecretMask): void {
    this.#guard.mask = mask;
    this.#guard.withheld = false;
    for (const log of this.#logs?.values() ?? []) this.#uploader.changed(log);
  }

  withhold(): void {
    this.#guard.withheld = true;
  }

  async complete(): Promise<void> {
    if (this.#logs) await Promise.all([...this.#logs.values()].map((log) => log.complete()));
  }

  async abandon(): Promise<void> {
    this.#abandoned = true;
    if (this.#logs) await Promise.all([...this.#logs.values()].map((log) => log.settle()));
  }

  #add(name: string, left: boolean): SpooledLog {
    checkLogName(name);
    this.#logs ??= new Map();
    if (this.#logs.size >= logsMax) {
      throw new DroverError({
        code: 'LOGS_TOO_MANY',
        advice: 'exhausted',
        message: `attempt ${this.#owner.attempt} of ${this.#owner.leaseId} has ${logsMax} logs, which is the most`,
      });
    }
    const log = new SpooledLog(
      this.#owner,
      name,
      spoolFileOf(this.#folder.logsDir(), name),
      this.#uploader,
      this.#guard,
      left,
    );
    this.#uploader.opened(log);
    if (this.#abandoned) void log.settle();
    this.#logs.set(name, log);
    return log;
  }
}
