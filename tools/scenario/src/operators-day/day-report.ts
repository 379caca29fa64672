import { enumToJson } from '@bufbuild/protobuf';
import { JobStateSchema, type JobStatus } from '@drover/control-api';
import { OutcomeSchema } from '@drover/lease-protocol';
import type { PhaseReport } from './phase.ts';

/** The whole day, for people and programs. */
export interface DayReport {
  readonly scenario: 'operators-day';
  readonly agents: number;
  readonly jobs: { readonly submitted: number; readonly succeeded: number };
  /** By the files that the jobs wrote. */
  readonly witness: { readonly once: number; readonly never: number; readonly repeated: number };
  readonly phases: readonly PhaseReport[];
  readonly faults: readonly string[];
}

/** A line for each lease of each job: what became of every attempt. */
export function leaseLines(jobs: readonly JobStatus[]): string[] {
  return jobs
    .toSorted((a, b) => (a.name < b.name ? -1 : 1))
    .flatMap(({ name, state, leases }) =>
      leases.map(({ attempts, leaseId }) => {
        const tried = attempts.map(
          ({ attempt, agentId, outcome, reason }) =>
            `${attempt}@${agentId} ${word(enumToJson(OutcomeSchema, outcome), 'OUTCOME_')}${reason === undefined ? '' : ` (${reason.code})`}`,
        );
        return `${name.padEnd(24)} ${word(enumToJson(JobStateSchema, state), 'JOB_STATE_').padEnd(10)} ${leaseId} ${tried.join(', ')}`;
      }),
    );
}

/** What people read at the end of the day. */
export function dayText({ agents, jobs, witness, phases, faults }: DayReport): string {
  const rows = phases.map(
    ({ name, durationMs, faults: own }) =>
      `  ${name.padEnd(44)} ${(durationMs / 1_000).toFixed(1).padStart(7)} s  ${own.length === 0 ? 'well' : `${own.length} faults`}`,
  );
  return [
    '',
    `An operator's day: ${agents} agents, ${jobs.submitted} jobs, ${jobs.succeeded} succeeded`,
    ...rows,
    `  witness files: ${witness.once} jobs ran once, ${witness.never} never, ${witness.repeated} more than once`,
    ...faults.map((fault) => `  FAULT: ${fault}`),
    faults.length === 0 ? 'All is well.' : `${faults.length} faults.`,
  ].join('\n');
}

/** `JOB_STATE_FAILED` as people say it. */
function word(name: unknown, prefix: string): string {
  return String(name).replace(prefix, '').toLowerCase();
}
