import type { AttemptKey } from '../attempt-key.ts';
import type { AgentLease } from '../copies.ts';
import { tellAgent, tellServer } from './carry-out.ts';
import { lists } from './simplify.ts';
import { insist } from './violation.ts';
import { beatMs, type Flight, type Report, type Setting, type World } from './world.ts';

/** At `beatMs` the server has been silent for long and answers; an answer can still be late or lost. */
export function deliverToServer(
  setting: Setting,
  world: World,
  flight: NonNullable<World['toServer']>,
  nowMs: number,
): void {
  const { server } = world;
  if (server === undefined) return;
  const { copy, meant } = flight;
  const undecided = [...server.holdings.values()].filter(({ ending }) => ending === undefined);
  tellServer(setting, world, { type: 'copy-received', copy, nowMs });
  for (const holding of undecided) {
    if ((holding.ending as { kind: string } | undefined)?.kind !== 'lost') continue;
    const evident =
      copy.epoch === server.options.epoch && copy.acknowledged >= holding.listedRevision && !lists(meant, holding);
    insist(evident, 2, () => `${holding.leaseId}${holding.attempt} is lost by a copy that is no evidence of it`);
  }
  checkResolved(flight, server.options.epoch, server.applied, server.wantsWhole, server.agentList);
}

/** Copies without news are not kept in a world, but one may arrive after the agent's list has changed. */
export function oldHeartbeat(setting: Setting, world: World): void {
  const { agentList, options, applied, holdings } = world.server!;
  const leases: AgentLease<Report>[] = [];
  for (const { leaseId, attempt, agentState } of holdings.values()) {
    if (agentState !== undefined) leases.push({ leaseId, attempt, state: agentState });
  }
  const { sessionId, epoch } = options;
  const header = { sessionId, epoch, revision: applied, acknowledged: 0, wantsWhole: false };
  tellServer(setting, world, {
    type: 'copy-received',
    copy: { ...header, list: { kind: 'whole', leases } },
    nowMs: beatMs,
  });
  // What it says of attempts that are settled does not matter here; what the server remembers of them does.
  world.server!.agentList = agentList;
}

/** A copy reaches the agent. */
export function deliverToAgent(setting: Setting, world: World, { copy, meant }: NonNullable<World['toAgent']>): void {
  const { agent } = world;
  const { epoch } = agent;
  const kept = [...agent.holdings.values()]
    .filter((holding) => holding.listedRevision > 0 && holding.phase !== 'dropping' && !holding.orphaned)
    .map((holding) => ({ holding, listedRevision: holding.listedRevision }));
  tellAgent(setting, world, { type: 'copy-received', copy, nowMs: 0 });
  for (const { holding, listedRevision } of kept) {
    if (holding.phase !== 'dropping' && !holding.orphaned) continue;
    const evident = copy.epoch === epoch && copy.acknowledged >= listedRevision && !lists(meant, holding);
    insist(evident, 2, () => `${holding.leaseId}${holding.attempt} is let go by a copy that is no evidence against it`);
  }
  if (agent.phase !== 'session') return;
  checkResolved({ copy, meant }, agent.epoch, agent.applied, agent.wantsWhole, agent.serverList);
}

/** A digest that was applied stood for the list that the receiver remembers. */
function checkResolved(
  { copy, meant }: Flight<NonNullable<World['toServer']>['copy'] | NonNullable<World['toAgent']>['copy']>,
  epoch: number,
  applied: number,
  wantsWhole: boolean,
  remembered: readonly (AttemptKey & { readonly state: string })[] | undefined,
): void {
  if (copy.list.kind !== 'digest' || copy.epoch !== epoch || copy.revision !== applied || wantsWhole) return;
  const same = remembered?.length === meant.length;
  insist(same, 10, () => `a digest of ${meant.length} attempts is taken for a list of ${remembered?.length ?? 'no'}`);
}
