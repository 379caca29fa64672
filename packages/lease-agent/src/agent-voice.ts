import { create } from '@bufbuild/protobuf';
import type { Clock, ScheduledCall } from '@drover/lease-kit';
import type { ProgressBoard } from '@drover/lease-handlers';
import {
  AgentCondition,
  ExchangeLeasesRequestSchema,
  type AgentCopy as WireAgentCopy,
  type AgentDescription,
  type AgentLease,
} from '@drover/lease-protocol';
import type { AgentCopy } from '@drover/reconciler-state-machine';
import type { ResourceLedger } from '@drover/resource-ledger';
import type { SessionCaller } from './session-caller.ts';
import { agentCopyToWire } from './wire-copy.ts';

/** Whether an agent takes new work. */
export type Condition = 'ready' | 'busy' | 'stopping' | 'unhealthy';

const conditions: Readonly<Record<Condition, AgentCondition>> = {
  ready: AgentCondition.READY,
  busy: AgentCondition.BUSY,
  stopping: AgentCondition.STOPPING,
  unhealthy: AgentCondition.UNHEALTHY,
};

/** Why an agent is in its condition. */
export interface ConditionReason {
  /** Stable, upper snake case, at most 128 characters, e.g. `DISK_SPACE_LOW`. */
  readonly code: string;
  /** One sentence for a person, at most 4,096 bytes. */
  readonly message: string;
}

/** What an agent's voice works with. */
export interface AgentVoiceDeps {
  readonly clock: Clock;
  readonly ledger: ResourceLedger;
  readonly progress: ProgressBoard;
  readonly caller: SessionCaller;
  readonly condition: () => { readonly condition: Condition; readonly reason: ConditionReason | undefined };
  /** What the agent is now; another object when that has changed. */
  readonly description: () => AgentDescription;
  /** News of what is used elsewhere waits this long for company. */
  readonly newsMs: number;
}

/**
 * What the agent says on its link: the machine's copies, and beside them its condition, what something else uses of the
 * machine, progress, and what the agent is when that has changed. News of those alone repeats the newest copy, which
 * changes nothing at the other end.
 */
export class AgentVoice {
  readonly #deps: AgentVoiceDeps;
  #next: AgentCopy<AgentLease> | undefined;
  #last: WireAgentCopy | undefined;
  #toldElsewhere = '{}';
  /** What was said on this link; undefined: nothing since the session was opened. */
  #toldDescription: AgentDescription | undefined;
  #timer: ScheduledCall | undefined;

  constructor(deps: AgentVoiceDeps) {
    this.#deps = deps;
  }

  /** Takes the machine's copy; one that was not said yet is replaced. */
  put(copy: AgentCopy<AgentLease>): void {
    this.#next = copy;
  }

  /** Says the copy that was put. */
  flush(): void {
    if (!this.#next) return;
    this.#last = agentCopyToWire(this.#next);
    this.#next = undefined;
    this.repeat();
  }

  /** A new session or link: what was said on the one before is void. */
  forget(): void {
    this.#next = undefined;
    this.#last = undefined;
    // A link that broke may have lost it.
    this.#toldDescription = undefined;
  }

  /** Says the newest copy again with what stands beside it now. Before the first copy of a link it says nothing. */
  repeat(): void {
    const { caller, ledger, progress } = this.#deps;
    if (!this.#last || !caller.linked) return;
    const { condition, reason } = this.#deps.condition();
    const description = this.#deps.description();
    const isNews = description !== (this.#toldDescription ?? caller.openedAs);
    if (isNews) this.#toldDescription = description;
    const elsewhere = ledger.usedElsewhere();
    this.#toldElsewhere = JSON.stringify(elsewhere);
    caller.send(
      create(ExchangeLeasesRequestSchema, {
        copy: this.#last,
        condition: conditions[condition],
        ...(reason ? { conditionReason: reason } : {}),
        ...(isNews ? { description } : {}),
        resourcesUsedElsewhere: Object.fromEntries(
          Object.entries(elsewhere).map(([name, amount]) => [name, BigInt(amount)]),
        ),
        progress: progress.take(),
      }),
    );
  }

  /** {@link repeat} in the next turn, or so long from now. */
  repeatSoon(delayMs = 0): void {
    this.#timer ??= this.#deps.clock.schedule(delayMs, () => {
      this.#timer = undefined;
      this.repeat();
    });
  }

  /** Looks whether something else uses more or less of the machine than was said. */
  ledgerChanged(): void {
    if (this.#toldElsewhere !== JSON.stringify(this.#deps.ledger.usedElsewhere())) this.repeatSoon(this.#deps.newsMs);
  }

  /** Lets go of the timer. */
  close(): void {
    this.#timer?.cancel();
    this.forget();
  }
}
