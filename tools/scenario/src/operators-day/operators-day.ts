import { JobState } from '@drover/control-api';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Scenario, ScenarioContext } from '../scenario.ts';
import { arrive } from './arrive.ts';
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
  const phase = async (name: string, act: (notes: PhaseNotes) => Promise<void>): Promise<void> => {
    signal.throwIfAborted();
    phases.push(await runPhase(name, say, act));
  };

  await phase('the machines arrive', (notes) => arrive(fleet, agents, notes));
  await phase('the jobs are submitted', async ({ note }) => {
    await jobs.submit('morning', jobCount);
    note(`${jobCount} jobs of mixed needs`);
  });
  let succeeded = 0;
  await phase('every job ends', async ({ note, mustBe }) => {
    const all = await jobs.allEnded(allJobsMsMax, signal);
    for (const line of leaseLines(all)) note(line);
    const bad = all.filter(({ state }) => state !== JobState.SUCCEEDED);
    succeeded = all.length - bad.length;
    mustBe(bad.length === 0, `jobs that did not succeed: ${bad.map(({ name }) => name).join(', ')}`);
  });

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
