import { join } from 'node:path';
import { Machine } from '../fleet/machine.ts';
import type { FleetOfTheDay } from './fleet-of-the-day.ts';
import type { PhaseNotes } from './phase.ts';

/** So many machines are started at once: more would only wait for each other. */
const startedAtOnce = 4;

/** Starts the server and `count` machines of different kinds, and sees that the server knows all of them. */
export async function arrive(fleet: FleetOfTheDay, count: number, { note, mustBe }: PhaseNotes): Promise<void> {
  await fleet.startServer();
  const ids = Array.from({ length: count }, (_, i) => `machine-${String(i + 1).padStart(2, '0')}`);
  const waiting = [...ids.entries()];
  const starter = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) await start(fleet, next[1], next[0]);
  };
  await Promise.all(Array.from({ length: startedAtOnce }, starter));
  const { agents } = await fleet.client.fleet.listAgents({ pageSize: 1_000 });
  const online = agents.filter((agent) => agent.online);
  note(`${online.length} machines are connected`);
  mustBe(online.length === count, `${online.length} of ${count} machines are connected`);
}

async function start(fleet: FleetOfTheDay, id: string, index: number): Promise<void> {
  const dir = join(fleet.dir, id);
  const machine = new Machine({ id, dir, args: agentArguments(fleet, id, index, dir), env: agentEnvironment(fleet) });
  fleet.machines.set(id, machine);
  await machine.powerOn();
}

function agentArguments(fleet: FleetOfTheDay, id: string, index: number, dir: string): string[] {
  return [
    'agent',
    `--server-urls=${fleet.url}`,
    `--agent-id=${id}`,
    `--state-dir=${join(dir, 'state')}`,
    `--agent-properties=rack=r${(index % 3) + 1}`,
    ...(index % 5 === 0 ? ['--agent-pools=render'] : []),
    '--resources-cores=2',
  ];
}

function agentEnvironment(fleet: FleetOfTheDay): Record<string, string> {
  return { DROVER_AGENT_SERVER_TOKEN: fleet.adminToken };
}
