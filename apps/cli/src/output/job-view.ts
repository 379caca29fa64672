import { LeaseState, type JobStatus, type LeaseStatus } from '@drover/control-api';
import { anyUnpack } from '@bufbuild/protobuf/wkt';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { BatchResultSchema, StepEnd, type BatchResult, type StepResult } from '@drover/lease-type-job';
import { styleText } from 'node:util';
import { printable } from './print-table.ts';
import { bytesText, jobStateWord, leaseStateWord, outcomeWord, shortId, span } from './words.ts';

const barWidth = 24;

/** The result of a batch, if the lease has ended with one. */
export function batchResultOf(lease: LeaseStatus): BatchResult | undefined {
  return lease.output === undefined ? undefined : anyUnpack(lease.output, BatchResultSchema);
}

/** One line a lease: state, bar, what it does. */
export function progressLines(job: JobStatus, columns: number): string[] {
  return job.leases.map((lease) => {
    const percent = lease.state === LeaseState.ENDED ? 100 : lease.percent;
    const filled = Math.round((percent / 100) * barWidth);
    const bar = '━'.repeat(filled) + styleText('dim', '━'.repeat(barWidth - filled));
    const text = `${printable(lease.name).padEnd(12)} ${bar} ${String(percent).padStart(3)} %  `;
    const doing = `${leaseStateWord(lease.state)}${agentText(lease)}${lease.progressMessage && lease.state !== LeaseState.ENDED ? ` · ${printable(lease.progressMessage)}` : ''}`;
    const room = Math.max(10, columns - lease.name.length - barWidth - 12);
    return text + (doing.length > room ? `${doing.slice(0, room - 1)}…` : doing);
  });
}

function agentText(lease: LeaseStatus): string {
  const agent = lease.attempts.at(-1)?.agentId;
  return agent && lease.state !== LeaseState.ENDED ? ` on ${agent}` : '';
}

/** What became of a job, with each step and each output, for people. */
export function resultLines(job: JobStatus): string[] {
  const lines: string[] = [];
  for (const lease of job.leases) {
    const result = batchResultOf(lease);
    const last = lease.attempts.at(-1);
    const tries = lease.attempts.length > 1 ? `, attempt ${lease.attempts.length}` : '';
    const agent = last?.agentId ? ` on ${last.agentId}${tries}` : '';
    lines.push(`${styleText('bold', lease.name)}  ${leaseEndText(lease)}${agent}`);
    for (const step of result?.steps ?? []) lines.push(`  ${stepLine(step)}`);
    for (const path of result?.missingOutputs ?? [])
      lines.push(`  ${mark(false)} output ${printable(path)} is missing`);
    for (const problem of result?.problems ?? []) {
      lines.push(`  ${mark(false)} ${problem.code}: ${printable(problem.message)}`);
    }
    for (const output of result?.outputs ?? []) {
      lines.push(
        `  ${styleText('dim', '↳')} ${printable(output.path)}  ${bytesText(Number(output.digest?.sizeBytes ?? 0))}`,
      );
    }
  }
  return lines;
}

function leaseEndText(lease: LeaseStatus): string {
  if (lease.state !== LeaseState.ENDED) return leaseStateWord(lease.state);
  if (lease.succeeded) return styleText('green', 'succeeded');
  const { endedWaiting } = lease;
  if (endedWaiting) return styleText('red', `${endedWaiting.code}: ${printable(endedWaiting.message)}`);
  const last = lease.attempts.at(-1);
  if (last?.reason?.code)
    return styleText('red', `${outcomeWord(last.outcome)}: ${last.reason.code}: ${printable(last.reason.message)}`);
  if (last === undefined) return styleText('yellow', 'cancelled before it started');
  return styleText('red', batchResultOf(lease) ? 'failed' : outcomeWord(last.outcome));
}

function mark(good: boolean): string {
  return good ? styleText('green', '✓') : styleText('red', '✗');
}

function stepLine(step: StepResult): string {
  const took = step.duration ? span(durationMs(step.duration)) : '';
  if (step.end === StepEnd.EXITED) {
    const text = step.exitCode === 0 ? '' : `exit code ${step.exitCode}`;
    return `${mark(step.exitCode === 0)} ${step.name.padEnd(12)} ${took.padStart(6)}  ${text}`.trimEnd();
  }
  if (step.end === StepEnd.SKIPPED)
    return `${styleText('dim', '–')} ${step.name.padEnd(12)}         ${step.reason?.message ?? 'skipped'}`;
  return `${mark(false)} ${step.name.padEnd(12)} ${took.padStart(6)}  ${printable(step.reason?.message ?? '')}`;
}

/** The last line about a job. */
export function jobEndLine(job: JobStatus): string {
  const took =
    job.createdAt && job.endedAt
      ? ` after ${span(Number(job.endedAt.seconds - job.createdAt.seconds) * 1_000 + (job.endedAt.nanos - job.createdAt.nanos) / 1e6)}`
      : '';
  return `job ${shortId(job.jobId)} ${printable(job.name)} ${jobStateWord(job.state)}${took}`;
}
