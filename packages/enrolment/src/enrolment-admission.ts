import type { CallContext, DroverError, Logger, ScheduledCall } from '@drover/lease-kit';
import { isDroverError } from '@drover/lease-kit';
import type { EnrolmentRecord } from '@drover/lease-store';
import { enrolmentRequired } from './credential-errors.ts';
import type { EnrolmentAuthority } from './enrolment-authority.ts';

/** How agents are let in. */
export interface EnrolmentAdmissionOptions {
  /** Agents must be enrolled; otherwise those that are not may merely name themselves. */
  readonly required: boolean;
  /** How often the enrolments of agents with sessions are looked at, in case a signal was lost. Default 15 s. */
  readonly auditMs?: number;
}

/** The sessions of a server, as far as an admission looks at them. */
export interface AdmittedSessions {
  evict(agentId: string, error: DroverError): boolean;
  holds(agentId: string): boolean;
}

/** An agent that was let in. */
interface Admitted {
  /** That its session was opened with. */
  readonly generation: number;
  readonly atMs: number;
  /** Its session is open, so that it is forgotten when there is none. */
  isConfirmed: boolean;
}

/** Openings wait for each other when many agents come at once; one that takes longer than this will not happen. */
const openingMsMax = 600_000;
/** What one look at the store asks for. */
const pageSize = 1_000;

/**
 * Lets enrolled agents have sessions, binds them to their pools, and ends their sessions when they are revoked or enrolled
 * anew elsewhere: at once by the store's signal, whichever server was told, and by a look every 15 s.
 */
export class EnrolmentAdmission implements Disposable {
  readonly #authority: EnrolmentAuthority;
  readonly #required: boolean;
  readonly #auditMs: number;
  readonly #logger: Logger;
  readonly #admitted = new Map<string, Admitted>();
  #sessions: AdmittedSessions | undefined;
  #unlisten: (() => void) | undefined;
  #timer: ScheduledCall | undefined;

  constructor({ required, auditMs = 15_000 }: EnrolmentAdmissionOptions, authority: EnrolmentAuthority) {
    this.#authority = authority;
    this.#required = required;
    this.#auditMs = auditMs;
    this.#logger = authority.logger;
  }

  /** Ends sessions from now on. */
  start(sessions: AdmittedSessions): void {
    if (this.#sessions !== undefined) return;
    this.#sessions = sessions;
    this.#unlisten = this.#authority.signals.listen((signal) => {
      if (signal.kind === 'enrolment' && this.#admitted.has(signal.agentId)) void this.#look([signal.agentId]);
      if (signal.kind === 'resync') void this.#look([...this.#admitted.keys()]);
    });
    this.#arm();
  }

  /** Throws `ENROLMENT_REQUIRED`, and what is wrong with the credential. */
  async admit(agentId: string, context: CallContext): Promise<{ readonly poolsAllowed?: readonly string[] }> {
    const { principal } = context;
    const hasCredential = this.#authority.hasCredential(principal);
    if (!hasCredential && this.#required) throw enrolmentRequired(agentId, 'this server asks every agent for one');
    const standing = await this.#authority.standing(agentId);
    if (!hasCredential) {
      // Otherwise whoever knows its name could be the agent.
      if (standing !== undefined) throw enrolmentRequired(agentId, 'an agent of this id is enrolled');
      return {};
    }
    const generation = standing?.generation ?? 0;
    this.#admitted.set(agentId, { generation, atMs: this.#authority.clock.monotonicMs(), isConfirmed: false });
    return standing === undefined || standing.pools.length === 0 ? {} : { poolsAllowed: standing.pools };
  }

  /** Throws what was decided since {@link admit}. */
  async confirm(agentId: string): Promise<void> {
    const admitted = this.#admitted.get(agentId);
    if (admitted === undefined) return;
    this.#authority.checkStanding(agentId, admitted.generation, await this.#authority.standing(agentId, true));
    admitted.isConfirmed = true;
  }

  [Symbol.dispose](): void {
    this.#unlisten?.();
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#admitted.clear();
  }

  #arm(): void {
    this.#timer = this.#authority.clock.schedule(this.#auditMs, () => {
      const nowMs = this.#authority.clock.monotonicMs();
      for (const [agentId, { isConfirmed, atMs }] of this.#admitted) {
        if (this.#sessions?.holds(agentId) === true) continue;
        if (isConfirmed || nowMs - atMs > openingMsMax) this.#admitted.delete(agentId);
      }
      void this.#look([...this.#admitted.keys()]).then(() => {
        if (this.#timer !== undefined) this.#arm();
      });
    });
  }

  /** Ends the sessions of those whose credentials are void. */
  async #look(agentIds: readonly string[]): Promise<void> {
    const context = { principal: { kind: 'service', id: 'enrolment' } } as const;
    try {
      for (let at = 0; at < agentIds.length; at += pageSize) {
        const page = agentIds.slice(at, at + pageSize);
        const records = new Map(
          (await this.#authority.store.enrolments(page, context)).map((record) => [record.agentId, record]),
        );
        for (const agentId of page) this.#judge(agentId, records.get(agentId));
      }
    } catch (error) {
      this.#logger.warn(
        { err: error, agents: agentIds.length },
        'enrolments could not be looked at; it is tried again',
      );
    }
  }

  #judge(agentId: string, now: EnrolmentRecord | undefined): void {
    const admitted = this.#admitted.get(agentId);
    if (admitted === undefined) return;
    try {
      this.#authority.checkStanding(agentId, admitted.generation, now);
    } catch (error) {
      if (!isDroverError(error)) throw error;
      // One whose session is only being opened is stopped by `confirm`.
      if (admitted.isConfirmed) this.#admitted.delete(agentId);
      const ended = this.#sessions?.evict(agentId, error) === true;
      if (ended) this.#logger.info({ agentId, code: error.code }, 'the session of an agent was ended');
    }
  }
}
