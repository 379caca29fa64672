import type { AgentRelease } from '../fleet/agent-releases.ts';
import { poolOfTheDay } from './arrive.ts';
import type { FleetOfTheDay } from './fleet-of-the-day.ts';
import type { PhaseNotes } from './phase.ts';
import { until } from './until.ts';

const rings = '10%,50%,100%';
const upgradedAtOnce = 6;
const goneAfter = '3s';
const offMsMax = 60_000;

/** Rolls a version out, ring by ring, and sees that every machine has it and comes with it in one piece. */
export async function upgrade(
  fleet: FleetOfTheDay,
  release: AgentRelease,
  { note, mustBe }: PhaseNotes,
): Promise<void> {
  await fleet.drover(
    ...['agents', 'upgrade', '--channel', 'stable', '--bundle', release.archive, '--rings', rings],
    ...['--at-once', String(upgradedAtOnce), '--healthy-within', '60s', '--wait'],
  );
  const agents = await fleet.agents();
  const behind = agents.filter(({ description }) => description?.version !== release.version);
  note(`${agents.length - behind.length} machines have version ${release.version}, in rings of ${rings}`);
  mustBe(behind.length === 0, `machines without it: ${behind.map(({ agentId }) => agentId).join(', ')}`);
  mustBe(agents.length === fleet.machines.size, `${agents.length} of ${fleet.machines.size} machines are connected`);
}

/** Tries to roll a bad build out, which must stop at the first ring. */
export async function refuseBadBuild(
  fleet: FleetOfTheDay,
  bad: AgentRelease,
  good: AgentRelease,
  { note, mustBe }: PhaseNotes,
): Promise<void> {
  const halted = await fleet
    .drover(
      ...['agents', 'upgrade', '--channel', 'stable', '--bundle', bad.archive, '--rings', rings],
      ...['--at-once', '1', '--healthy-within', '20s', '--wait'],
    )
    .then(() => false)
    .catch(() => true);
  mustBe(halted, 'the bad build was rolled out');
  const wrong = (await fleet.agents()).filter(({ description }) => description?.version !== good.version);
  mustBe(
    wrong.length === 0,
    `machines that did not come back to ${good.version}: ${wrong.map(({ agentId }) => agentId).join(', ')}`,
  );
  note(`the bad build ${bad.version} stopped at the first ring; every machine has ${good.version}`);
}

/** Restarts every machine, one at a time, and sees that each came back with a new boot id. */
export async function restartOneByOne(fleet: FleetOfTheDay, { note, mustBe }: PhaseNotes): Promise<void> {
  const before = await bootIds(fleet);
  const boots = [...fleet.machines.values()].map(({ bootCount }) => bootCount);
  await fleet.drover(
    'agents',
    'restart',
    '--pool',
    poolOfTheDay,
    '--at-most',
    '1',
    '--reason',
    'a new kernel',
    '--wait',
  );
  const after = await bootIds(fleet);
  const same = [...before].filter(([id, bootId]) => after.get(id) === bootId).map(([id]) => id);
  const often = [...fleet.machines.values()].filter(({ bootCount }, i) => bootCount !== boots[i]! + 1);
  note(`${before.size - same.length} machines came back with a new boot id`);
  mustBe(same.length === 0, `machines that were not restarted: ${same.join(', ')}`);
  mustBe(
    often.length === 0,
    `machines that were not started exactly once more: ${often.map(({ id }) => id).join(', ')}`,
  );
}

/** Switches every machine off, drained first, and sees that none is left. */
export async function shutDown(fleet: FleetOfTheDay, { note, mustBe }: PhaseNotes): Promise<void> {
  await fleet.drover('agents', 'shutdown', '--pool', poolOfTheDay, '--gone-after', goneAfter, '--wait');
  await until('every machine is off', offMsMax, async () => [...fleet.machines.values()].every(({ isOn }) => !isOn));
  const left = await fleet.agents();
  note(`${fleet.machines.size} machines are off`);
  mustBe(left.length === 0, `still connected: ${left.map(({ agentId }) => agentId).join(', ')}`);
}

async function bootIds(fleet: FleetOfTheDay): Promise<ReadonlyMap<string, string>> {
  return new Map((await fleet.agents()).map(({ agentId, description }) => [agentId, description?.bootId ?? '']));
}
