import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { AgentRelease, AgentReleases } from '../fleet/agent-releases.ts';
import { Machine } from '../fleet/machine.ts';
import type { FleetOfTheDay } from './fleet-of-the-day.ts';
import type { PhaseNotes } from './phase.ts';
import { until } from './until.ts';

/** So many machines start at once: more would only wait for each other. */
const startedAtOnce = 4;
const onlineMsMax = 240_000;
/** The pool that all machines of the day are enrolled into. */
export const poolOfTheDay = 'day';

/** What the machines arrive with. */
export interface Arrival {
  readonly count: number;
  readonly releases: AgentReleases;
  readonly first: AgentRelease;
}

/**
 * Starts the server, makes a registration token, and switches the machines on: each makes its own key, enrols with the token
 * into the pool that it is bound to, and is known to the server afterwards.
 */
export async function arrive(fleet: FleetOfTheDay, arrival: Arrival, notes: PhaseNotes): Promise<void> {
  const { note, mustBe } = notes;
  await fleet.startServer('--enrolment-required', '--sessions-heartbeat=5s', '--sessions-timeout=20s');
  const created = await fleet.drover('enrolment-tokens', 'create', '--reusable', '--pool', poolOfTheDay);
  const token = created.trim().split('\n').at(-1)?.trim() ?? '';
  const ids = Array.from({ length: arrival.count }, (_, i) => `machine-${String(i + 1).padStart(2, '0')}`);
  const waiting = [...ids.entries()];
  const starter = async (): Promise<void> => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [index, id] = next;
      await switchOn(fleet, arrival, id, index, token);
    }
  };
  await Promise.all(Array.from({ length: startedAtOnce }, starter));
  const agents = await fleet.agents();
  const strangers = agents.filter(({ description }) => description?.version !== arrival.first.version);
  note(
    `${agents.length} machines are enrolled and connected, each with a key of its own, at version ${arrival.first.version}`,
  );
  mustBe(
    strangers.length === 0,
    `machines with another version: ${strangers.map(({ agentId }) => agentId).join(', ')}`,
  );
}

async function switchOn(
  fleet: FleetOfTheDay,
  arrival: Arrival,
  id: string,
  index: number,
  token: string,
): Promise<void> {
  const dir = join(fleet.dir, id);
  mkdirSync(dir, { recursive: true });
  await arrival.releases.install(arrival.first, Machine.supervisorHome(dir));
  writeFileSync(join(dir, 'agent.toml'), agentToml(fleet, arrival, id, index, dir));
  const env = { DROVER_AGENT_SERVER_ENROLMENT_TOKEN: token };
  const machine = new Machine({ id, dir, args: ['--config', join(dir, 'agent.toml')], env });
  fleet.machines.set(id, machine);
  machine.powerOn();
  await until(`${id} is connected`, onlineMsMax, async () =>
    (await fleet.agents()).some(({ agentId }) => agentId === id),
  );
}

/** Machines differ: racks, a pool that they ask for, licences. JSON strings and arrays are TOML as well. */
function agentToml(fleet: FleetOfTheDay, { releases }: Arrival, id: string, index: number, dir: string): string {
  const table = (name: string, values: Readonly<Record<string, unknown>>): string =>
    [`[${name}]`, ...Object.entries(values).map(([key, value]) => `${key} = ${JSON.stringify(value)}`), ''].join('\n');
  const power = (to: 'restart' | 'shutdown') =>
    table(`lease_type."@drover/lease-type-${to}"`, { command: Machine.switchCommand(dir, to) });
  return [
    table('server', { urls: [fleet.url] }),
    table('agent', {
      id,
      boot_id_file: Machine.bootIdFile(dir),
      properties: [`rack=r${(index % 3) + 1}`],
    }),
    table('resources', { cores: 2, custom: index % 4 === 0 ? ['licence=1'] : [] }),
    table('state', { dir: join(dir, 'state') }),
    table('upgrade', { keys: [releases.publicKey] }),
    power('restart'),
    power('shutdown'),
  ].join('\n');
}
