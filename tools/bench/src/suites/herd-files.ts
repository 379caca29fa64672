import { randomFillSync } from 'node:crypto';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { runHerdJob, type HerdJob, type HerdJobResult, type JobInput } from '@drover/herd-service/client';
import { startHerdAgents, type HerdAgents } from '../herd-agents.ts';
import { timeScript } from '../shell-script.ts';
import { median, rounded } from '../statistics.ts';
import type { Suite, SuiteContext, SuiteResult } from '../suite.ts';

const agentCount = 4;
const mib = 2 ** 20;

/** Inputs of a herd job to agents on this machine. */
export const herdFilesSuite: Suite = {
  name: 'herd-files',
  about: '200 MB of inputs to 4 agents, beside cp and sha256sum; a second job sends nothing',
  run,
};

/** Some large files, some of a few megabytes, many small ones, none of which compresses. */
function sizesOf(quick: boolean): number[] {
  const sizes = [...Array<number>(2).fill(50), ...Array<number>(8).fill(10)].map((size) => size * mib);
  const small = Array<number>(800).fill(25 * 1024);
  return quick ? [5 * mib, ...small.slice(0, 20)] : [...sizes, ...small];
}

async function run({ say, signal, quick }: SuiteContext): Promise<SuiteResult> {
  const rounds = quick ? 1 : 5;
  await using herd = await startHerdAgents({ count: agentCount, slots: 1 }, signal);
  const source = join(herd.folder, 'source');
  const sizes = sizesOf(quick);
  const bytes = sizes.reduce((sum, size) => sum + size, 0);
  say(
    `${sizes.length} files of ${bytes} bytes to ${agentCount} agents, each a process, over TLS with client certificates. ` +
      'Drover: from the call to the moment at which the last agent has all of them in its job’s folder, hashed by both ends. ' +
      'Peer: cp -r to four folders, and sha256sum of each copy, all four at once, or one after another if that is faster.',
  );
  const drover: number[] = [];
  const peer: number[] = [];
  let second: HerdJobResult | undefined;
  for (let round = 0; round < rounds + 1; round++) {
    const inputs = await writeInputs(source, sizes);
    const first = await timeJob(herd, inputs, signal);
    second = (await timeJob(herd, inputs, signal)).result;
    const both = await timePeers(herd.folder, signal);
    if (round === 0 && !quick) continue; // caches, and code that is compiled
    drover.push(first.readyMs);
    peer.push(Math.min(...both));
    say(
      `round ${round}: Drover ${rounded(first.readyMs)} ms, peer at once and in turn ${both.map((ms) => rounded(ms)).join(', ')} ms`,
    );
    const sent = sentBy(first.result);
    if (sent !== bytes * agentCount) throw new Error(`${sent} bytes were sent; ${bytes * agentCount} are right`);
  }
  const secondSent = sentBy(second!);
  if (secondSent !== 0) throw new Error(`the second job sent ${secondSent} bytes`);
  const rate = (ms: number): number => (bytes * agentCount) / mib / (ms / 1_000);
  return {
    suite: 'herd-files',
    figures: {
      agents: agentCount,
      files: sizes.length,
      bytes_of_inputs: bytes,
      drover_mib_per_s: rounded(rate(median(drover))),
      peer_mib_per_s: rounded(rate(median(peer))),
      second_job_sent_bytes: secondSent,
    },
    ratios: { copy_rate: rounded(median(peer) / median(drover)) },
  };
}

function sentBy({ agents }: HerdJobResult): number {
  return agents.reduce((sum, { sentBytes }) => sum + sentBytes, 0);
}

/** New content each round, so that no agent has it. */
async function writeInputs(folder: string, sizes: readonly number[]): Promise<JobInput[]> {
  await rm(folder, { recursive: true, force: true });
  await mkdir(folder, { recursive: true });
  const inputs: JobInput[] = [];
  for (const [i, size] of sizes.entries()) {
    const source = join(folder, `file-${i}`);
    await writeFile(source, randomFillSync(Buffer.allocUnsafe(size)));
    inputs.push({ path: `data/file-${i}`, source, executable: false });
  }
  return inputs;
}

/** A job whose tasks wait until all agents have the files, so that none is left out. */
async function timeJob(
  { agents, connector, folder }: HerdAgents,
  inputs: readonly JobInput[],
  signal: AbortSignal,
): Promise<{ readonly readyMs: number; readonly result: HerdJobResult }> {
  const go = join(folder, 'go');
  await rm(go, { force: true });
  const job: HerdJob = {
    name: 'files',
    inputs,
    outputs: [],
    tasks: agents.map((_, i) => ({
      name: `wait-${i}`,
      exe: '/bin/sh',
      arguments: ['-c', `until [ -e '${go}' ]; do sleep 0.02; done`],
      environment: {},
      workingFolder: '',
      retries: 0,
      inputs: [],
      outputs: [],
    })),
  };
  let begun = 0;
  let readyMs = 0;
  const startedAtMs = performance.now();
  const running = runHerdJob(
    job,
    { agents, outputsFolder: folder },
    {
      connectors: [connector],
      onEvent(event) {
        if (event.kind !== 'agent-began' || ++begun < agents.length) return;
        readyMs = performance.now() - startedAtMs;
        void writeFile(go, '');
      },
    },
  );
  const stop = (): void => running.leave(signal.reason);
  signal.addEventListener('abort', stop, { once: true });
  try {
    const result = await running.result;
    if (result.outcome !== 'succeeded') throw new Error(`the job ${result.outcome}: ${JSON.stringify(result)}`);
    return { readyMs, result };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** Both ways of the peer: all copies at once, and one after another. */
async function timePeers(folder: string, signal: AbortSignal): Promise<[number, number]> {
  const places = Array.from({ length: agentCount }, (_, i) => i);
  const one = (i: number): string => `cp -r source copy-${i}; (cd copy-${i}; find . -type f -exec sha256sum {} +)`;
  const clear = 'rm -rf copy-*';
  const pids = places.map((i) => `( ${one(i)} ) & p${i}=$!`).join('\n');
  const atOnce = await timeScript(`${pids}\n${places.map((i) => `wait $p${i}`).join('\n')}`, folder, signal);
  await timeScript(clear, folder, signal);
  const inTurn = await timeScript(places.map(one).join('\n'), folder, signal);
  await timeScript(clear, folder, signal);
  return [atOnce, inTurn];
}
