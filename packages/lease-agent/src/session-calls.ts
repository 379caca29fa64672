import { create } from '@bufbuild/protobuf';
import { DroverError, isDroverError, type LeaseClient } from '@drover/lease-kit';
import type { LogPiece } from '@drover/lease-handlers';
import { AppendLogRequestSchema, FetchSecretsRequestSchema } from '@drover/lease-protocol';
import type { AttemptKey } from '@drover/reconciler-state-machine';
import type { OpenedSession } from './session-caller.ts';

/** What an agent asks a server beside its link, each in the session of the moment. */
export class SessionCalls {
  readonly #client: Pick<LeaseClient, 'appendLog' | 'fetchSecrets'>;
  #session: OpenedSession | undefined;

  constructor(client: Pick<LeaseClient, 'appendLog' | 'fetchSecrets'>) {
    this.#client = client;
  }

  /** There is another session, or none. */
  sessionChanged(session: OpenedSession | undefined): void {
    this.#session = session;
  }

  /** Hands over bytes of a log; how many the log then has there. */
  appendLog({ owner, log, offset, data, complete }: LogPiece, signal: AbortSignal): Promise<number> {
    return this.#inSession(async ({ sessionId, epoch }) => {
      const { leaseId, attempt } = owner;
      const piece = { attempt: { leaseId, attempt }, log, offset: BigInt(offset), data, complete };
      const request = create(AppendLogRequestSchema, { sessionId, epoch, ...piece });
      return Number((await this.#client.appendLog(request, signal)).committedBytes);
    });
  }

  /** The secrets of the lease of an attempt. */
  fetchSecrets({ leaseId, attempt }: AttemptKey, signal: AbortSignal): Promise<ReadonlyMap<string, Uint8Array>> {
    return this.#inSession(async ({ sessionId, epoch }) => {
      const request = create(FetchSecretsRequestSchema, { sessionId, epoch, attempt: { leaseId, attempt } });
      return new Map(Object.entries((await this.#client.fetchSecrets(request, signal)).secrets));
    });
  }

  async #inSession<Result>(call: (session: OpenedSession) => Promise<Result>): Promise<Result> {
    const session = this.#session;
    if (!session) {
      throw new DroverError({ code: 'SESSION_NONE', advice: 'unavailable', message: 'there is no session' });
    }
    try {
      return await call(session);
    } catch (error) {
      if (!isDroverError(error)) throw error;
      // What is said to an old session says nothing about the attempt. A server that does not know the session may say so here
      // before it does on the link: the agent then opens another.
      const isOld = session !== this.#session || error.code === 'SESSION_UNKNOWN';
      if (!isOld) throw error;
      throw new DroverError({ code: error.code, advice: 'unavailable', message: error.message, cause: error });
    }
  }
}
