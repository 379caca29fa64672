import type { Condition, ConditionReason } from './agent-voice.ts';

const wishedReason: ConditionReason = { code: 'BUSY_BY_COMMAND', message: 'an operator needs the machine' };

/**
 * Why an agent takes no work although it could: something is wrong with the machine, or it is needed for something else, as
 * whoever runs the agent says, or operators through the server, or both.
 */
export class AgentStanding {
  /** What is wrong with the machine. */
  problem: ConditionReason | undefined;
  #here = false;
  #reason: ConditionReason | undefined;
  #wished = false;

  /** The machine is needed for something else. */
  get busy(): boolean {
    return this.#here || this.#wished;
  }

  /** Whoever runs the agent says whether it is busy; true if that changes what is told. */
  setBusyHere(busy: boolean, reason: ConditionReason | undefined): boolean {
    const before = this.#told();
    this.#here = busy;
    this.#reason = busy ? reason : undefined;
    return !sameReason(before, this.#told());
  }

  /** Operators say whether it is busy; true if that changes what is told. */
  setBusyWished(wished: boolean): boolean {
    const before = this.#told();
    this.#wished = wished;
    return !sameReason(before, this.#told());
  }

  /** How the agent stands, as it tells it. `busy` is what the machine of its leases has heard of it. */
  tell(
    stopping: boolean,
    problem: ConditionReason | undefined,
    busy: boolean,
  ): { readonly condition: Condition; readonly conditionReason?: ConditionReason } {
    if (stopping) return { condition: 'stopping' };
    if (problem) return { condition: 'unhealthy', conditionReason: problem };
    if (!busy) return { condition: 'ready' };
    const reason = this.#told();
    return { condition: 'busy', ...(reason ? { conditionReason: reason } : {}) };
  }

  #told(): ConditionReason | undefined {
    return this.#wished ? wishedReason : this.#reason;
  }
}

/** True for reasons that say the same, and for none twice. */
export function sameReason(one: ConditionReason | undefined, other: ConditionReason | undefined): boolean {
  return one?.code === other?.code && one?.message === other?.message;
}
