import { runHerdJob, type HerdJob } from '@drover/herd-service/client';
import { startHerdAgents, type HerdAgents } from '../herd-agents.ts';
import { timeScript } from '../shell-script.ts';
import { median, rounded } from '../statistics.ts';
import type { Suite, SuiteContext, SuiteResult } from '../suite.ts';

const agentCount = 4;
const slotsPerAgent = 1;

/** Tasks that do nothing, each a process. */
export const herdTasksSuite: Suite = {
  name: 'herd-tasks',
  about: '1,000 tasks of true over 4 agents, beside xargs -P with as many slots',
  run,
};

async function run({ say, signal, quick }: SuiteContext): Promise<SuiteResult> {
  const count = quick ? 50 : 1_000;
  const rounds = quick ? 1 : 7;
  const slots = agentCount * slotsPerAgent;
  await using herd = await startHerdAgents({ count: agentCount, slots: slotsPerAgent }, signal);
  say(
    `${count} tasks of /bin/true over ${agentCount} agents with ${slotsPerAgent} slot each, each task with its start, its end and its ` +
      `exit code told to the client, over TLS; no progress pipe. Peer: seq ${count} | xargs -P ${slots} -n 1 true.`,
  );
  const drover: number[] = [];
  const peer: number[] = [];
  for (let round = 0; round < rounds + 1; round++) {
    const ours = await timeJob(herd, count, signal);
    const theirs = await timeScript(`seq ${count} | xargs -P ${slots} -n 1 /bin/true`, herd.folder, signal);
    if (round === 0 && !quick) continue; // caches, and code that is compiled
    say(`round ${round}: Drover ${rounded(ours)} ms, xargs ${rounded(theirs)} ms`);
    drover.push(ours);
    peer.push(theirs);
  }
  return {
    suite: 'herd-tasks',
    figures: {
      agents: agentCount,
      slots,
      tasks: count,
      drover_ms: rounded(median(drover)),
      drover_tasks_per_s: rounded(count / (median(drover) / 1_000)),
      xargs_ms: rounded(median(peer)),
    },
    ratios: { xargs_wall: rounded(median(drover) / median(peer)) },
  };
}

async function timeJob({ agents, connector, folder }: HerdAgents, count: number, signal: AbortSignal): Promise<number> {
  const job: HerdJob = {
    name: 'tasks',
    inputs: [],
    outputs: [],
    tasks: Array.from({ length: count }, (_, i) => ({
      name: `true-${i}`,
      exe: '/bin/true',
      arguments: [String(i)],
      environment: {},
      workingFolder: '',
      retries: 0,
      inputs: [],
      outputs: [],
    })),
  };
  const startedAtMs = performance.now();
  const running = runHerdJob(job, { agents, outputsFolder: folder }, { connectors: [connector] });
  const stop = (): void => running.leave(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  try {
    const result = await running.result;
    if (result.outcome !== 'succeeded') throw new Error(`the job ${result.outcome}: ${JSON.stringify(result.agents)}`);
    return performance.now() - startedAtMs;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
