import type { AgentView, AskContext, AssignedAttempt, TaskAnswer, TaskSource } from '@drover/lease-kit';

/** An agent that sources are asked about, and what decides which of them are. */
export interface Candidate {
  readonly view: AgentView;
  /** An operator lets it work; if not, only sources with `assignsWhenDisabled` are asked. */
  readonly enabled: boolean;
  /** In a scheduled downtime: only sources with `assignsInDowntime` are asked. */
  readonly inDowntime: boolean;
  /** The source whose drain is on: that one is asked, and those that stand before it. */
  readonly drainedBy?: string;
}

/** An attempt with the name of the source that assigned it. */
export interface SourcedAttempt {
  readonly source: string;
  readonly attempt: AssignedAttempt;
}

/** What a round of asking brought. */
export interface AskOutcome {
  readonly assigned: readonly SourcedAttempt[];
  /** By agent id: it is to get no other work until it is idle. */
  readonly drains: ReadonlyMap<string, { readonly source: string; readonly reason: string }>;
  /** Agents whose drain its source did not repeat: others may be asked about them again. */
  readonly released: readonly string[];
  /** Sources that failed, with the agents that they were asked about: what became of those is not known. */
  readonly failures: readonly {
    readonly source: string;
    readonly agents: readonly AgentView[];
    readonly error: unknown;
  }[];
}

/**
 * Asks sources in their order. An agent that got an answer is not offered to the sources behind. An agent that a source
 * drains is offered to no source behind that one, until it answers something else or nothing; those before it are asked all
 * the same, so that bulk work which drains an agent for itself cannot keep the machine from its upkeep. A drain by one of
 * them takes the place of the one that was on. A drain by a source that is not among `sources` keeps all away until it
 * expires. A source that throws leaves its agents out of the rest of the round. Attempts for agents that were not asked about are dropped and reported as a
 * failure of their source. Never rejects; an abort shows as failures.
 */
export async function askSources(
  sources: readonly TaskSource[],
  candidates: readonly Candidate[],
  context: AskContext,
): Promise<AskOutcome> {
  const open = new Map(candidates.map((candidate) => [candidate.view.agentId, candidate]));
  const assigned: SourcedAttempt[] = [];
  const drains = new Map<string, { source: string; reason: string }>();
  const released: string[] = [];
  const failures: { source: string; agents: readonly AgentView[]; error: unknown }[] = [];

  const placeOf = new Map(sources.map(({ name }, place) => [name, place]));
  for (const [place, source] of sources.entries()) {
    const asked = [...open.values()].filter(
      (candidate) => mayAsk(source, candidate) && place <= lastPlace(candidate, placeOf),
    );
    if (asked.length === 0) continue;
    const agents = asked.map(({ view }) => view);
    let answers: ReadonlyMap<string, TaskAnswer>;
    try {
      answers = await source.ask(agents, context);
    } catch (error) {
      failures.push({ source: source.name, agents, error });
      for (const { agentId } of agents) open.delete(agentId);
      continue;
    }
    for (const candidate of asked) {
      const { agentId } = candidate.view;
      const answer = answers.get(agentId);
      if (answer === undefined || (answer.kind === 'assigned' && answer.attempts.length === 0)) {
        if (candidate.drainedBy === source.name) released.push(agentId);
        continue;
      }
      open.delete(agentId);
      if (answer.kind === 'drain') {
        drains.set(agentId, { source: source.name, reason: answer.reason });
        continue;
      }
      if (candidate.drainedBy === source.name) released.push(agentId);
      for (const attempt of answer.attempts) assigned.push({ source: source.name, attempt });
    }
    const known = new Set(agents.map(({ agentId }) => agentId));
    const stranger = [...answers.keys()].find((agentId) => !known.has(agentId));
    if (stranger !== undefined) {
      const error = new Error(`source ${source.name} answered for ${stranger}, which it was not asked about`);
      failures.push({ source: source.name, agents: [], error });
    }
  }
  return { assigned, drains, released, failures };
}

function mayAsk(source: TaskSource, candidate: Candidate): boolean {
  if (!candidate.enabled && source.assignsWhenDisabled !== true) return false;
  return !candidate.inDowntime || source.assignsInDowntime === true;
}

/** The place of the last source that may be asked about an agent. */
function lastPlace({ drainedBy }: Candidate, placeOf: ReadonlyMap<string, number>): number {
  return drainedBy === undefined ? Number.POSITIVE_INFINITY : (placeOf.get(drainedBy) ?? -1);
}
