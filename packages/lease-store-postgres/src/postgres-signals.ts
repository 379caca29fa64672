import { messageOf, type Clock, type Logger, type ScheduledCall } from '@drover/lease-kit';
import type { StoreSignal, StoreSignals } from '@drover/lease-store';
import { randomUUID } from 'node:crypto';
import { statement, type Database } from './internal/database.ts';

/** What {@link PostgresSignals} is made of. */
export interface PostgresSignalsDeps {
  readonly database: Database;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Names and times of {@link PostgresSignals}. */
export interface PostgresSignalsOptions {
  readonly channel: string;
  /** How long signals are gathered after a message was sent, in ms; up to four times as long while many come. */
  readonly windowMs: number;
}

/** Postgres takes less than 8,000 bytes for one notification. */
const payloadBytesMax = 7_900;
/** Signals that wait to be sent; beyond, one `resync` stands for all. */
const pendingMax = 10_000;
/** So many signals in one window are many: hearing of them less often costs less than each of them waits longer. */
const manySignals = 8;
const widestWindow = 4;
const beatMs = 30_000;
const answerMsMax = 10_000;
const retryMsMin = 100;
const retryMsMax = 5_000;

// A notification is a commit of its own. It is a hint, so that it does not wait for the disk.
const notify = statement(
  'notify',
  `with quick as materialized (select set_config('synchronous_commit', 'off', true))
   select pg_notify($1, p) from quick, unnest($2::text[]) as p`,
);

/**
 * Hints between servers over NOTIFY and LISTEN.
 *
 * This process's own listeners hear a signal at once, without the database. Other servers hear it with the next message:
 * immediately if none was sent lately, else when the window ends, equal signals once. Windows grow under load, since each
 * message makes every server look. One connection listens, as long as
 * anybody does; while it is away hints are lost, so that its return is announced as `resync`.
 */
export class PostgresSignals implements StoreSignals {
  readonly #deps: PostgresSignalsDeps;
  readonly #options: PostgresSignalsOptions;
  readonly #origin = randomUUID().slice(0, 8);
  readonly #listeners = new Set<(signal: StoreSignal) => void>();
  /** As JSON. */
  readonly #pending = new Set<string>();
  #window: ScheduledCall | undefined;
  #windowMs: number;
  /** Signals since the window began. */
  #announced = 0;
  #sending: Promise<void> | undefined;
  /** Gives up the connection that listens. */
  #drop: (() => void) | undefined;
  #connecting: Promise<void> | undefined;
  #retry: ScheduledCall | undefined;
  #retryMs = retryMsMin;
  #wasListening = false;
  #isClosed = false;

  constructor(deps: PostgresSignalsDeps, options: PostgresSignalsOptions) {
    this.#deps = deps;
    this.#options = options;
    this.#windowMs = options.windowMs;
  }

  announce(signal: StoreSignal): void {
    if (this.#isClosed) return;
    this.#announced += 1;
    queueMicrotask(() => this.#deliver(signal));
    if (this.#pending.size >= pendingMax) {
      this.#pending.clear();
      this.#pending.add(JSON.stringify({ kind: 'resync' } satisfies StoreSignal));
    }
    this.#pending.add(JSON.stringify(signal));
    if (!this.#window && !this.#sending) this.#send();
  }

  listen(listener: (signal: StoreSignal) => void): () => void {
    if (this.#isClosed) return () => undefined;
    // A function of its own, so that one listener may be given twice.
    const entry = (signal: StoreSignal) => listener(signal);
    this.#listeners.add(entry);
    void this.#connect();
    return () => {
      this.#listeners.delete(entry);
      if (this.#listeners.size === 0) this.#disconnect();
    };
  }

  /** Stops; pending signals are sent if the database answers. Idempotent. */
  async close(): Promise<void> {
    if (!this.#isClosed) {
      this.#isClosed = true;
      this.#listeners.clear();
      this.#window?.cancel();
      this.#window = undefined;
      if (!this.#sending && this.#pending.size > 0) this.#send();
    }
    await this.#sending;
    await this.#connecting;
    this.#disconnect();
  }

  #deliver(signal: StoreSignal): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(signal);
      } catch (error) {
        this.#deps.logger.error({ err: error }, 'a listener of store signals threw');
      }
    }
  }

  #send(): void {
    const messages = messagesFrom(this.#origin, [...this.#pending]);
    this.#pending.clear();
    this.#sending = this.#deps.database
      .call(undefined, (session) => session.run(notify, [this.#options.channel, messages]))
      .then(
        () => undefined,
        // The signals are hints; their listeners poll.
        (error: unknown) => this.#deps.logger.debug({ err: messageOf(error) }, 'store signals were not sent'),
      )
      .finally(() => {
        this.#sending = undefined;
        if (this.#isClosed) return;
        this.#announced = 0;
        this.#window = this.#deps.clock.schedule(this.#windowMs, () => {
          this.#window = undefined;
          const { windowMs } = this.#options;
          this.#windowMs =
            this.#announced < manySignals ? windowMs : Math.min(widestWindow * windowMs, this.#windowMs * 2);
          if (this.#pending.size > 0) this.#send();
        });
      });
  }

  #connect(): Promise<void> {
    if (this.#isClosed || this.#drop || this.#retry) return Promise.resolve();
    this.#connecting ??= this.#listenOnce().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #listenOnce(): Promise<void> {
    let drop: (() => void) | undefined;
    try {
      const { connection, session } = await this.#deps.database.keep();
      let isDropped = false;
      let beat: ScheduledCall | undefined;
      const dropOnce = () => {
        if (isDropped) return;
        isDropped = true;
        beat?.cancel();
        connection.release(true);
      };
      drop = dropOnce;
      const lose = () => {
        dropOnce();
        if (this.#drop !== dropOnce) return;
        this.#drop = undefined;
        this.#reconnectLater();
      };
      connection.on('error', lose);
      connection.on('end', lose);
      connection.on('notification', ({ channel, payload }) => {
        if (channel === this.#options.channel && !isDropped) this.#receive(payload ?? '');
      });
      await session.text(`listen "${this.#options.channel}"`);
      if (isDropped) throw new Error('the connection was lost');
      if (this.#isClosed || this.#listeners.size === 0) {
        dropOnce();
        return;
      }
      // Nothing else is sent on this connection, so that nobody would find out that its other end has vanished.
      const ask = () => {
        beat = this.#deps.clock.schedule(answerMsMax, lose);
        session.text('select 1').then(() => {
          beat?.cancel();
          if (!isDropped) beat = this.#deps.clock.schedule(beatMs, ask);
        }, lose);
      };
      beat = this.#deps.clock.schedule(beatMs, ask);
      this.#drop = dropOnce;
      this.#retryMs = retryMsMin;
      if (this.#wasListening) this.#deliver({ kind: 'resync' });
      this.#wasListening = true;
    } catch (error) {
      this.#deps.logger.warn({ err: messageOf(error) }, 'listening for store signals failed; it is tried again');
      drop?.();
      this.#wasListening = true;
      this.#reconnectLater();
    }
  }

  #reconnectLater(): void {
    if (this.#isClosed || this.#listeners.size === 0) return;
    this.#retry = this.#deps.clock.schedule(this.#retryMs, () => {
      this.#retry = undefined;
      void this.#connect();
    });
    this.#retryMs = Math.min(retryMsMax, this.#retryMs * 2);
  }

  #disconnect(): void {
    this.#retry?.cancel();
    this.#retry = undefined;
    const drop = this.#drop;
    this.#drop = undefined;
    this.#wasListening = false;
    drop?.();
  }

  #receive(payload: string): void {
    const [origin, ...signals] = parse(payload);
    if (origin === this.#origin) return;
    for (const signal of signals) this.#deliver(signal as StoreSignal);
  }
}

function parse(payload: string): unknown[] {
  try {
    const value: unknown = JSON.parse(payload);
    return Array.isArray(value) ? value : [];
  } catch {
    return [];
  }
}

/** JSON arrays of signals behind their origin, each small enough for one notification. */
function messagesFrom(origin: string, signals: readonly string[]): string[] {
  const messages: string[] = [];
  const head = `["${origin}"`;
  let message = head;
  for (const signal of signals) {
    if (Buffer.byteLength(message) + Buffer.byteLength(signal) + 2 > payloadBytesMax) {
      messages.push(`${message}]`);
      message = head;
    }
    message += `,${signal}`;
  }
  return [...messages, `${message}]`];
}
