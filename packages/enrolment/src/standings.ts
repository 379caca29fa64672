import type { Clock, Principal } from '@drover/lease-kit';
import type { EnrolmentRecord, EnrolmentStore } from '@drover/lease-store';

/** What {@link Standings} works with. */
export interface StandingsDeps {
  readonly store: Pick<EnrolmentStore, 'enrolments'>;
  readonly clock: Clock;
  readonly principal: Principal;
}

interface Standing {
  readonly record: Promise<EnrolmentRecord | undefined>;
  readonly atMs: number;
}

const standingsMax = 50_000;
/** A signal says sooner that one has changed; this is the floor. */
const freshMs = 15_000;

/** How agents are enrolled, as the store said lately. */
export class Standings {
  readonly #deps: StandingsDeps;
  readonly #known = new Map<string, Standing>();

  constructor(deps: StandingsDeps) {
    this.#deps = deps;
  }

  /** The enrolment of an agent, at most 15 s old; undefined for one that never was enrolled. */
  of(agentId: string): Promise<EnrolmentRecord | undefined> {
    const known = this.#known.get(agentId);
    if (known !== undefined && this.#deps.clock.monotonicMs() - known.atMs < freshMs) return known.record;
    return this.now(agentId);
  }

  /** The enrolment of an agent, as it is in the store now. */
  now(agentId: string): Promise<EnrolmentRecord | undefined> {
    const { store, clock, principal } = this.#deps;
    const record = store.enrolments([agentId], { principal }).then(([found]) => found);
    this.#known.delete(agentId);
    this.#known.set(agentId, { record, atMs: clock.monotonicMs() });
    if (this.#known.size > standingsMax) this.#known.delete(this.#known.keys().next().value!);
    record.catch(() => {
      if (this.#known.get(agentId)?.record === record) this.#known.delete(agentId);
    });
    return record;
  }

  /** The next question asks the store. */
  forget(agentId: string): void {
    this.#known.delete(agentId);
  }

  /** The next questions ask the store. */
  forgetAll(): void {
    this.#known.clear();
  }
}
