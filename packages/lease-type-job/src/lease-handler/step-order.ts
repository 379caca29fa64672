import type { Step } from '../gen/drover/job/v1/job_pb.ts';

/** What a step that has ended was, for the steps that need it. */
export type StepVerdict = 'succeeded' | 'failed' | 'skipped';

/** Decides which steps may start now and which never will. Pure; made for the steps of one batch, which form no circle. */
export class StepOrder {
  readonly #steps: readonly Step[];
  readonly #verdicts = new Map<string, StepVerdict>();
  readonly #taken = new Set<string>();

  constructor(steps: readonly Step[]) {
    this.#steps = steps;
  }

  /** Takes the next step whose needs are met, in the order of the file; undefined if none may start now. */
  takeReady(): Step | undefined {
    const step = this.#steps.find((candidate) => !this.#taken.has(candidate.name) && this.#isReady(candidate));
    if (step) this.#taken.add(step.name);
    return step;
  }

  /** Takes a step that will never start because one that it needs did not succeed; undefined if there is none. */
  takeHopeless(): Step | undefined {
    const step = this.#steps.find((candidate) => !this.#taken.has(candidate.name) && this.#isHopeless(candidate));
    if (step) this.#taken.add(step.name);
    return step;
  }

  /** Takes every step that has not started: the batch was stopped. */
  takeRest(): readonly Step[] {
    const rest = this.#steps.filter((step) => !this.#taken.has(step.name));
    for (const step of rest) this.#taken.add(step.name);
    return rest;
  }

  /** Says how a step ended. */
  ended(name: string, verdict: StepVerdict): void {
    this.#verdicts.set(name, verdict);
  }

  get endedCount(): number {
    return this.#verdicts.size;
  }

  #isReady(step: Step): boolean {
    return step.needs.every((need) => {
      const verdict = this.#verdicts.get(need);
      return verdict === 'succeeded' || (step.always && verdict !== undefined);
    });
  }

  #isHopeless(step: Step): boolean {
    if (step.always) return false;
    return step.needs.some((need) => {
      const verdict = this.#verdicts.get(need);
      return verdict === 'failed' || verdict === 'skipped';
    });
  }
}
