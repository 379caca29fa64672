import { countWord } from '../output/words.ts';
import { exitCodes, type ExitCode } from '@drover/app-config';
import type { AgentResult, HerdJobResult, SavedOutput, TaskResult } from '@drover/herd-service/client';
import { relative } from 'node:path';
import { styleText } from 'node:util';
import { printable, tableText } from '../output/print-table.ts';
import { bytesText, span } from '../output/words.ts';

/** All tasks are listed up to so many; of more, those that did not succeed. */
const tasksListedMax = 30;
const linesMax = 100;

/** What became of a job, for people. */
export function herdResultText(result: HerdJobResult): string {
  const { tasks, outputs, missing } = result;
  const listed =
    tasks.length <= tasksListedMax
      ? tasks
      : tasks.filter(({ outcome, mayHaveRunTwice }) => outcome !== 'succeeded' || mayHaveRunTwice);
  const lines: string[] = [];
  if (listed.length > 0) lines.push(tableText(taskColumns, listed.slice(0, linesMax), ''));
  if (listed.length > linesMax) lines.push(`and ${listed.length - linesMax} more`);
  for (const task of listed.slice(0, linesMax)) lines.push(...logLines(task));
  lines.push('', tableText(agentColumns, result.agents, ''));
  if (outputs.length > 0) lines.push('', ...limited(outputs.map(outputLine)));
  for (const { path, task, code, message } of missing.slice(0, linesMax)) {
    const of = task === undefined ? '' : ` of ${printable(task)}`;
    lines.push(`${styleText('red', '✗')} output ${printable(path)}${of} is missing: ${printable(message)} (${code})`);
  }
  if (missing.length > linesMax) lines.push(`and ${missing.length - linesMax} more outputs are missing`);
  lines.push('', endLine(result));
  return lines.join('\n');
}

/** The exit code of `drover herd run`: as of `drover job run`, and why not if no agent could be used at all. */
export function exitCodeOfHerdJob({ outcome, tasks, agents }: HerdJobResult): ExitCode {
  if (outcome === 'succeeded') return exitCodes.ok;
  if (outcome === 'cancelled') return exitCodes.jobCancelled;
  if (!tasks.every((task) => task.outcome === 'not-run')) return exitCodes.jobFailed;
  const denied = ['NOT_PAIRED', 'AGENT_NOT_TRUSTED', 'CERTIFICATE_EXPIRED', 'CLIENT_REVOKED'];
  return agents.some(({ code = '' }) => denied.includes(code)) ? exitCodes.denied : exitCodes.unavailable;
}

const taskColumns = [
  { head: 'TASK', cell: ({ name }: TaskResult) => name },
  { head: 'END', cell: outcomeText },
  { head: 'AGENT', cell: ({ agent }: TaskResult) => agent ?? '-' },
  { head: 'TOOK', cell: ({ tookMs }: TaskResult) => (tookMs === undefined ? '-' : span(tookMs)) },
  { head: 'WHY', cell: whyText },
];

const agentColumns = [
  { head: 'AGENT', cell: ({ name }: AgentResult) => name },
  { head: 'STATE', cell: ({ state }: AgentResult) => state },
  { head: 'TASKS', cell: ({ tasks }: AgentResult) => String(tasks) },
  { head: 'SENT', cell: ({ sentBytes }: AgentResult) => (sentBytes === 0 ? '-' : bytesText(sentBytes)) },
  { head: 'WHY', cell: ({ message = '' }: AgentResult) => message },
];

function outcomeText({ outcome, exitCode }: TaskResult): string {
  const text = outcome.replaceAll('-', ' ');
  if (outcome === 'succeeded') return exitCode === undefined ? `${text} (exit code unknown)` : text;
  return exitCode === undefined ? text : `${text} (exit code ${exitCode})`;
}

function whyText({ errorMessage, signal, attempts, mayHaveRunTwice }: TaskResult): string {
  return [
    ...(errorMessage === undefined ? [] : [errorMessage]),
    ...(signal === undefined ? [] : [`ended by ${signal}`]),
    ...(attempts > 1 ? [`attempt ${attempts}`] : []),
    ...(mayHaveRunTwice ? ['may have run twice'] : []),
  ].join('; ');
}

function logLines({ name, logTail }: TaskResult): string[] {
  if (logTail === undefined) return [];
  const lines = logTail.trimEnd().split('\n').slice(-10);
  return lines.map((line) => `${styleText('cyan', `${printable(name).padEnd(10)} │`)} ${printable(line)}`);
}

function outputLine({ file, sizeBytes, agent, isConflict }: SavedOutput): string {
  const conflict = isConflict ? styleText('yellow', '  another agent had other content') : '';
  const from = styleText('dim', `from ${printable(agent)}`);
  return `${styleText('dim', '↳')} ${printable(relative('.', file))}  ${bytesText(sizeBytes)} ${from}${conflict}`;
}

function limited(lines: readonly string[]): readonly string[] {
  if (lines.length <= tasksListedMax) return lines;
  return [...lines.slice(0, tasksListedMax), `and ${lines.length - tasksListedMax} more outputs`];
}

function endLine({ outcome, tasks, missing, tookMs }: HerdJobResult): string {
  const succeeded = tasks.filter((task) => task.outcome === 'succeeded').length;
  const twice = tasks.filter((task) => task.mayHaveRunTwice).length;
  const colour = outcome === 'succeeded' ? 'green' : outcome === 'cancelled' ? 'yellow' : 'red';
  const parts = [
    `${succeeded} of ${tasks.length} tasks succeeded in ${span(tookMs)}`,
    ...(missing.length === 0
      ? []
      : [`${countWord(missing.length, 'output')} ${missing.length === 1 ? 'is' : 'are'} missing`]),
    ...(twice === 0 ? [] : [`${countWord(twice, 'task')} may have run twice`]),
  ];
  return `${styleText(colour, outcome)}: ${parts.join(', ')}`;
}
