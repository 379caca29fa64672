import { JobState } from '@drover/control-api';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { AgentReleases } from '../fleet/agent-releases.ts';
import { arrive } from './arrive.ts';
import { conform } from './conform.ts';
import { refuseBadBuild, restartOneByOne, shutDown, upgrade } from './care.ts';
import { dayText, leaseLines, type DayReport } from './day-report.ts';
import { FleetOfTheDay } from './fleet-of-the-day.ts';
import { runPhase, type PhaseNotes, type PhaseReport } from './phase.ts';
import { JobsOfTheDay } from './run-jobs.ts';
import { Witness } from './witness.ts';

const allJobsMsMax = 300_000;

/**
 * A day of somebody who operates a fleet, on real processes: one server, thirty machines. Each job testifies in a file of its
 * own, so that what ran is counted by the files.
 */
export const operatorsDay: Scenario = {
  name: 'operators-day',
  about: 'thirty machines, one server: enrol, work, upgrade, conform, restart, drain and shut down',
  async run(context: ScenarioContext): Promise<boolean> {
    const dir = mkdtempSync(join(tmpdir(), 'drover-operators-day-'));
    try {
      const report = await liveThrough(dir, context);
      context.say(dayText(report));
      context.result(report);
      return report.faults.length === 0;
    } finally {
      if (context.keep) context.say(`What the day left is in ${dir}`);
      else rmSync(dir, { recursive: true, force: true });
    }
  },
};

async function liveThrough(dir: string, { say, signal, agents, jobs: jobCount }: ScenarioContext): Promise<DayReport> {
  await using fleet = new FleetOfTheDay(join(dir, 'fleet'));
  const witness = new Witness(join(dir, 'witness'));
  const jobs = new JobsOfTheDay(fleet, witness);
  const phases: PhaseReport[] = [];
  const phase = async (name: string, act: (notes: PhaseNotes) => Promise<void>): Promise<boolean> => {
    signal.throwIfAborted();
    const report = await runPhase(name, say, act);
    phases.push(report);
    return report.faults.length === 0;
  };

  const releases = new AgentReleases(join(dir, 'releases'));
  const [first, second] = [await releases.build('1.0.0'), await releases.build('2.0.0')];
  const bad = await releases.build('2.1.0', 'exit 3');
  const parts = shares(jobCount);

  const haveArrived = await phase('the machines arrive', (notes) =>
    arrive(fleet, { count: agents, releases, first }, notes),
  );
  if (!haveArrived) throw new Error('the machines have not arrived: there is no day to live through');
  await jobs.submit('morning', parts.morning);
  await phase('a version is rolled out in rings while jobs run', (notes) => upgrade(fleet, second, notes));
  await phase('a bad build stops at the first ring', (notes) => refuseBadBuild(fleet, bad, second, notes));
  await jobs.submit('noon', parts.noon);
  await phase('the machines conform to a workspace while jobs run', (notes) => conform(fleet, notes));
  await phase('the machines are restarted one by one while jobs run', (notes) => restartOneByOne(fleet, notes));
  await jobs.submit('evening', parts.evening);
  let succeeded = 0;
  await phase('every job ends', async ({ note, mustBe }) => {
    const all = await jobs.allEnded(allJobsMsMax, signal);
    for (const line of leaseLines(all)) note(line);
    const bad = all.filter(({ state }) => state !== JobState.SUCCEEDED);
    succeeded = all.length - bad.length;
    mustBe(bad.length === 0, `jobs that did not succeed: ${bad.map(({ name }) => name).join(', ')}`);
  });
  await phase('the machines are drained and switched off', (notes) => shutDown(fleet, notes));

  const said = witness.hear(jobs.names);
  const faults = phases.flatMap(({ name, faults: own }) => own.map((fault) => `${name}: ${fault}`));
  if (said.never.length > 0) faults.push(`jobs that never ran: ${said.never.join(', ')}`);
  for (const [job, lines] of said.repeated) faults.push(`${job} ran ${lines.length} times: ${lines.join(' | ')}`);
  return {
    scenario: 'operators-day',
    agents,
    jobs: { submitted: jobs.names.length, succeeded },
    witness: { once: said.once, never: said.never.length, repeated: said.repeated.size },
    phases,
    faults,
  };
}

/** Jobs of the day: most before the upgrade, some before the restarts, the rest in the evening. */
function shares(count: number): { readonly morning: number; readonly noon: number; readonly evening: number } {
  const morning = Math.ceil(count / 2);
  const noon = Math.ceil((count - morning) / 2);
  return { morning, noon, evening: count - morning - noon };
}
