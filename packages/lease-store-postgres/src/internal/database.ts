import { createHash } from 'node:crypto';
import { messageOf, type Clock, type Logger } from '@drover/lease-kit';
import { callCancelled, storeClosed } from '@drover/lease-store';
import type { PostgresConnection, PostgresPool } from '../postgres-pool.ts';
import { errorFromPostgres, isConnectionLost, isTransient, storeUnavailable } from './postgres-error.ts';
import { valueParsers } from './value-parsers.ts';

/** A statement that is prepared once on each connection. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** Declares a prepared statement. The name holds a digest of the text, so that no two texts ever share one. */
export function statement(label: string, text: string): Statement {
  const digest = createHash('sha256').update(text).digest('hex').slice(0, 12);
  return { name: `drover_${label}_${digest}`, text };
}

/** Something that kysely can compile, e.g. a query builder. */
export interface Compilable<Row> {
  compile(): { readonly sql: string; readonly parameters: readonly unknown[] };
  // Carries the row type; builders have it.
  execute(): Promise<Row[]>;
}

/** Runs statements on one connection. */
export interface Session {
  /** Runs a prepared statement. */
  run<Row>(statement: Statement, values: unknown[]): Promise<Row[]>;
  /** Runs what a kysely builder describes. */
  query<Row>(builder: Compilable<Row>): Promise<Row[]>;
  /** Runs text as it is; several statements are possible without values. */
  text<Row>(text: string, values?: unknown[]): Promise<Row[]>;
}

/** What {@link Database} is made of. */
export interface DatabaseDeps {
  readonly pool: PostgresPool;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Time limits of {@link Database}. */
export interface DatabaseOptions {
  /** How long a call may take in all, getting a connection included. */
  readonly callTimeoutMs: number;
}

/** Connections whose error event has a listener, of all databases. */
const guarded = new WeakSet<PostgresConnection>();

/**
 * Calls to the database with a time limit, an abort signal and errors that say what to do. Nothing that happens to a
 * connection hangs a call or ends the process; a later call gets a new connection.
 */
export class Database {
  readonly #deps: DatabaseDeps;
  readonly #options: DatabaseOptions;
  readonly #prepared = new WeakSet<PostgresConnection>();
  readonly #onPoolError = (error: Error) => {
    this.#deps.logger.warn({ err: error }, 'an idle database connection failed');
  };
  #isClosed = false;
  /** Set when the schema turned out to be one that this version must not touch. */
  refusal: Error | undefined;

  constructor(deps: DatabaseDeps, options: DatabaseOptions) {
    this.#deps = deps;
    this.#options = options;
    deps.pool.on?.('error', this.#onPoolError);
  }

  /** Runs `work` on a connection, outside any transaction: each statement commits by itself. */
  call<Result>(signal: AbortSignal | undefined, work: (session: Session) => Promise<Result>): Promise<Result> {
    return this.#retried(signal, work);
  }

  /** Runs `work` in one transaction at READ COMMITTED; its statements see what others commit in between. */
  transaction<Result>(signal: AbortSignal | undefined, work: (session: Session) => Promise<Result>): Promise<Result> {
    return this.#retried(signal, async (session) => {
      await session.text('begin');
      try {
        const result = await work(session);
        await session.text('commit');
        return result;
      } catch (error) {
        // A failure here is that of the connection, which the first error shows as well.
        await session.text('rollback').catch(() => undefined);
        throw error;
      }
    });
  }

  /** Takes a connection to keep, e.g. to listen on; the caller releases it. */
  async keep(): Promise<{ readonly connection: PostgresConnection; readonly session: Session }> {
    const connection = await this.#deps.pool.connect();
    try {
      await this.#prepare(connection);
    } catch (error) {
      connection.release(true);
      throw error;
    }
    return { connection, session: sessionOn(connection) };
  }

  /** Refuses further calls. */
  close(): void {
    this.#isClosed = true;
    this.#deps.pool.removeListener?.('error', this.#onPoolError);
  }

  async #retried<Result>(signal: AbortSignal | undefined, work: (session: Session) => Promise<Result>) {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#once(signal, work);
      } catch (error) {
        // A deadlock's victim was rolled back as a whole, so that it may simply go again.
        if (attempt < 4 && isTransient(error)) continue;
        throw errorFromPostgres(error);
      }
    }
  }

  async #once<Result>(signal: AbortSignal | undefined, work: (session: Session) => Promise<Result>): Promise<Result> {
    if (this.#isClosed) throw storeClosed();
    if (this.refusal) throw this.refusal;
    if (signal?.aborted) throw callCancelled(signal.reason);
    const { promise: given, reject: giveUp } = Promise.withResolvers<never>();
    const { callTimeoutMs } = this.#options;
    let connection: PostgresConnection | undefined;
    let isOver = false;
    const timer = this.#deps.clock.schedule(callTimeoutMs, () => {
      isOver = true;
      giveUp(storeUnavailable(`no answer within ${callTimeoutMs} ms`));
      // Whatever hangs there must not come back into the pool.
      connection?.release(true);
      connection = undefined;
    });
    const onAbort = () => giveUp(callCancelled(signal?.reason));
    signal?.addEventListener('abort', onAbort, { once: true });
    const run = async (): Promise<Result> => {
      const taken = await this.#deps.pool.connect();
      if (isOver) {
        taken.release();
        throw storeUnavailable(`no connection within ${callTimeoutMs} ms`);
      }
      connection = taken;
      try {
        if (!this.#prepared.has(taken)) await this.#prepare(taken);
        const result = await work(sessionOn(taken));
        connection?.release();
        return result;
      } catch (error) {
        connection?.release(isConnectionLost(error));
        throw error;
      } finally {
        connection = undefined;
      }
    };
    try {
      const running = run();
      running.catch(() => undefined);
      return await Promise.race([running, given]);
    } finally {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /**
   * The queue's tables swing between empty and a million rows within seconds, faster than statistics follow. A plan made
   * from statistics may then read the whole table for every claim; these settings leave only plans over indexes, made
   * once and kept.
   */
  async #prepare(connection: PostgresConnection): Promise<void> {
    if (!guarded.has(connection)) {
      guarded.add(connection);
      // A connection that fails while it is taken says so twice: to the query, and by an event that would end the
      // process if nobody listened.
      connection.on('error', () => undefined);
    }
    const { callTimeoutMs } = this.#options;
    await connection.query({
      text: [
        'set plan_cache_mode = force_generic_plan',
        'set enable_seqscan = off',
        'set enable_hashjoin = off',
        'set enable_mergejoin = off',
        'set jit = off',
        'set default_transaction_isolation = "read committed"',
        `set statement_timeout = ${callTimeoutMs}`,
        `set lock_timeout = ${callTimeoutMs}`,
        `set idle_in_transaction_session_timeout = ${2 * callTimeoutMs}`,
      ].join(';'),
    });
    this.#prepared.add(connection);
  }
}

function sessionOn(connection: PostgresConnection): Session {
  const run = async <Row>(text: string, values: unknown[], name?: string): Promise<Row[]> => {
    const query = { text, values, types: valueParsers, ...(name === undefined ? {} : { name }) };
    return (await connection.query(query)).rows as Row[];
  };
  return {
    run: ({ text, name }, values) => run(text, values, name),
    query: (builder) => {
      const { sql, parameters } = builder.compile();
      return run(sql, [...parameters]);
    },
    text: (text, values = []) => run(text, values),
  };
}

/** Logs a failure of background work, which goes on later. */
export function logFailure(logger: Logger, what: string): (error: unknown) => void {
  return (error) => logger.warn({ err: messageOf(error) }, `${what} failed; it goes on later`);
}
