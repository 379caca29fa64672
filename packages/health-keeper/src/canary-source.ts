import { payloadTypeOf, type LeaseDraft, type TaskSource } from '@drover/lease-kit';
import { createAgentTaskSource, type AgentTaskSourceDeps } from '@drover/task-sources';

/** The source of canaries' leases and tasks. */
export const canarySourceName = 'canary';

/** What a canary source is and how often it looks. */
export interface CanarySourceOptions {
  /** How long a canary may run. Default 5 min. */
  readonly runLimitMs?: number;
  /** How often it looks for canaries that no signal spoke of. Default 5 s. */
  readonly pollMs?: number;
}

/** How long processes of a canary have between the polite signal and the last one. */
const cancelGraceMs: LeaseDraft['cancelGraceMs'] = 10_000;

/**
 * The source of canaries: real leases that show whether a suspected agent can work. They are forced, since the agent gets no
 * other new work and what it still runs may take hours. A canary is never repeated by itself; the keeper decides.
 */
export function createCanarySource(
  deps: Omit<AgentTaskSourceDeps, 'plan'>,
  { runLimitMs = 300_000, pollMs }: CanarySourceOptions = {},
): TaskSource {
  return createAgentTaskSource(
    {
      name: canarySourceName,
      // To a source, an agent that is withheld is as good as disabled.
      assignsWhenDisabled: true,
      retry: { backoffMs: [], failuresMax: 1 },
      drainReason: 'it is to be tried with a canary',
      ...(pollMs === undefined ? {} : { pollMs }),
    },
    {
      ...deps,
      plan: ({ payload, agentId }, agent) => {
        // A machine that says itself that it is not fit is not tried; it would only refuse.
        if (!agent.payloadTypes.includes(payloadTypeOf(payload))) return { kind: 'wait' };
        const name = `canary ${agentId}`.slice(0, 256);
        return { kind: 'lease', lease: { name, payload, runLimitMs, cancelGraceMs } };
      },
    },
  );
}
