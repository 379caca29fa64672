import { randomUUID } from 'node:crypto';
import { join, resolve } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { machineProcesses, type AgentProcess, type AgentProcesses, type ProcessEnd } from './agent-process.ts';
import { machineFiles, replaceFile, type DurableFiles } from './durable-files.ts';
import { SupervisorError } from './supervisor-error.ts';
import { supervisorFolder, type SupervisorFolder } from './supervisor-folder.ts';
import { takeSupervisorLock } from './supervisor-lock.ts';
import {
  readHealthy,
  readStart,
  readSwitch,
  readWish,
  type SwitchReason,
  type SwitchRecord,
  type SwitchWish,
} from './switch-record.ts';
import { currentVersion, makeCurrent, pruneVersions, readVersion, removeUnfinished } from './version-folders.ts';

/** What is supervised. */
export interface SuperviseOptions {
  /** The supervisor's own folder, with at least one version and `current`. */
  readonly home: string;
  /** What the entry of each version is started with. */
  readonly args: readonly string[];
  readonly timing?: Partial<SuperviseTiming>;
}

/** Times of a supervisor, in ms. */
export interface SuperviseTiming {
  /** Wait before an agent that crashed is started again: doubled from min to max while it crashes. */
  readonly restartMinMs: number;
  readonly restartMaxMs: number;
  /** How long an agent that asked for a switch has to end by itself. Default 60 s. */
  readonly leaveWithinMs: number;
  /** How long an agent has between SIGTERM and SIGKILL when it must end. Default 10 s. */
  readonly killAfterMs: number;
  /** How often the files of an agent are looked at; five times as often while it proves itself. Default 500. */
  readonly lookMs: number;
}

/** What a supervisor works with. */
export interface SuperviseDeps {
  /** Default: this machine's. */
  readonly files?: DurableFiles;
  /** Default: this machine's. */
  readonly processes?: AgentProcesses;
  /** One line for people. */
  readonly say: (line: string) => void;
  /** An agent runs, of the version of this name: at each start, and for one that was found. */
  readonly onRunning?: (version: string) => void;
  /** Aborted: the agent is told to drain, and the supervisor ends with it. */
  readonly drain: AbortSignal;
  /** Aborted: the agent is told once more, which stops what runs. */
  readonly cancel: AbortSignal;
}

const defaultTiming: SuperviseTiming = {
  restartMinMs: 1_000,
  restartMaxMs: 60_000,
  leaveWithinMs: 60_000,
  killAfterMs: 10_000,
  lookMs: 500,
};

/** A new version that was interrupted by a power cut is tried again once. */
const startsMax = 2;
/** How long a version that was not healthy in time has between SIGTERM and SIGKILL. */
const unprovenKillAfterMs = 500;
/** An agent that ran so long has not crashed at its start. */
const steadyMs = 60_000;
/** Exit codes with which an agent has ended for good: drained, or another process has its identity. */
const finalCodes: readonly number[] = [0, 7];

/**
 * Keeps one version of an agent running: the one that `current` leads to. Switches to another when the agent asks for it and
 * goes back if that does not prove healthy in time. Resolves with an exit code when the agent has ended for good.
 *
 * It may be killed at any moment, the machine too: what it does next is read from its folder, and an agent that runs is
 * found and kept. Throws `SUPERVISOR_RUNS`, `VERSION_MISSING`, and what the file system says.
 */
export async function supervise(options: SuperviseOptions, deps: SuperviseDeps): Promise<number> {
  const folder = supervisorFolder(resolve(options.home));
  const files = deps.files ?? machineFiles;
  await files.makeFolder(folder.versions);
  const unlock = takeSupervisorLock(folder.lock);
  try {
    return await new Supervisor(folder, files, options, deps).run();
  } finally {
    unlock();
  }
}

/** An agent that runs, with the start that it has to name when it is healthy. */
interface RunningAgent {
  readonly process: AgentProcess;
  readonly start: string;
  readonly version: string;
}

class Supervisor {
  readonly #folder: SupervisorFolder;
  readonly #files: DurableFiles;
  readonly #processes: AgentProcesses;
  readonly #args: readonly string[];
  readonly #timing: SuperviseTiming;
  readonly #deps: SuperviseDeps;
  #record: SwitchRecord | undefined;

  constructor(folder: SupervisorFolder, files: DurableFiles, options: SuperviseOptions, deps: SuperviseDeps) {
    this.#folder = folder;
    this.#files = files;
    this.#processes = deps.processes ?? machineProcesses;
    this.#args = options.args;
    this.#timing = { ...defaultTiming, ...options.timing };
    this.#deps = deps;
  }

  async run(): Promise<number> {
    const { drain, say } = this.#deps;
    let restartMs = this.#timing.restartMinMs;
    this.#record = await readSwitch(this.#folder);
    let agent = await this.#findRunning();
    for (;;) {
      const started = performance.now();
      agent ??= await this.#startNext();
      this.#deps.onRunning?.(agent.version);
      const end = await this.#watch(agent);
      say(`${agent.version} has ended: ${endText(end)}`);
      agent = undefined;
      if (drain.aborted) return end.code ?? 0;
      if (this.#record?.phase === 'going-back' || (await readWish(this.#folder)) !== undefined) continue;
      if (end.code !== undefined && finalCodes.includes(end.code)) return end.code;
      if (performance.now() - started > steadyMs) restartMs = this.#timing.restartMinMs;
      say(`it is started again in ${restartMs} ms`);
      await wait(restartMs, undefined, { signal: drain }).catch(() => undefined);
      if (drain.aborted) return 0;
      restartMs = Math.min(restartMs * 2, this.#timing.restartMaxMs);
    }
  }

  /** The agent of an earlier supervisor, if it runs and is the current version. */
  async #findRunning(): Promise<RunningAgent | undefined> {
    const record = await readStart(this.#folder);
    const process = record === undefined ? undefined : this.#processes.find(record);
    if (record === undefined || process === undefined) return undefined;
    const found = { process, start: record.start, version: record.version };
    if (record.version === (await currentVersion(this.#folder))) {
      this.#deps.say(`${record.version} runs already (pid ${record.pid})`);
      return found;
    }
    await this.#end(found);
    return undefined;
  }

  /** Does what is due in the folder and starts the version that is current then. */
  async #startNext(): Promise<RunningAgent> {
    await removeUnfinished(this.#folder, this.#files);
    await this.#takeWish();
    if (this.#record?.phase === 'switching') {
      await makeCurrent(this.#folder, this.#files, this.#record.to);
      await this.#save({ ...this.#record, phase: 'proving' });
    }
    if (this.#record?.phase === 'proving') {
      if (this.#record.starts < startsMax) await this.#save({ ...this.#record, starts: this.#record.starts + 1 });
      else await this.#goBack('VERSION_INTERRUPTED', `it was interrupted ${startsMax} times before it was healthy`);
    }
    if (this.#record?.phase === 'going-back') await this.#finishGoingBack(this.#record);
    try {
      return await this.#start();
    } catch (error) {
      if (this.#record?.phase !== 'proving') throw error;
      await this.#goBack('VERSION_CANNOT_START', error instanceof Error ? error.message : String(error));
      await this.#finishGoingBack(this.#record);
      return this.#start();
    }
  }

  async #takeWish(): Promise<void> {
    const wish = await readWish(this.#folder);
    if (wish === undefined) return;
    const isTaken = wish.id === this.#record?.id;
    const isBusy = ['switching', 'proving', 'going-back'].includes(this.#record?.phase ?? '');
    if (!isTaken && isBusy) return;
    if (!isTaken) await this.#begin(wish);
    await this.#files.remove(this.#folder.wish);
    await this.#files.syncFolder(this.#folder.home);
  }

  async #begin(wish: SwitchWish): Promise<void> {
    const from = await currentVersion(this.#folder);
    if (from === undefined) throw noVersion(this.#folder);
    const { id, to, healthyWithinMs } = wish;
    const record = { id, to, healthyWithinMs, from, starts: 0 };
    const refuse = (code: SwitchReason['code'], message: string): Promise<void> =>
      this.#save({ ...record, phase: 'rolled-back', reason: { code, message } });
    if (to === from) return refuse('VERSION_RUNS_ALREADY', `${to} is the version that runs`);
    if ((await readVersion(this.#folder, to)) === undefined) {
      return refuse('VERSION_MISSING', `there is no complete version ${to}`);
    }
    this.#deps.say(`switching from ${from} to ${to}`);
    await this.#save({ ...record, phase: 'switching' });
  }

  async #start(): Promise<RunningAgent> {
    const version = await currentVersion(this.#folder);
    const record = version === undefined ? undefined : await readVersion(this.#folder, version);
    if (version === undefined || record === undefined) throw noVersion(this.#folder);
    const entry = join(this.#folder.versions, version, 'bundle', record.entry);
    const program = /\.m?js$/.test(entry) ? [process.execPath, entry] : [entry];
    const start = randomUUID();
    const agent = await this.#processes.start([...program, ...this.#args], {
      DROVER_AGENT_SUPERVISOR_HOME: this.#folder.home,
      DROVER_AGENT_SUPERVISOR_START: start,
    });
    // On record before it begins: whatever happens now, the next supervisor finds it.
    await replaceFile(this.#files, this.#folder.start, `${JSON.stringify({ start, version, ...agent.name })}\n`);
    agent.go();
    this.#deps.say(`${version} is started (pid ${agent.name.pid})`);
    return { process: agent, start, version };
  }

  /** Looks after an agent until it has ended. */
  async #watch(agent: RunningAgent): Promise<ProcessEnd> {
    const { drain, cancel, say } = this.#deps;
    const stop = (): void => agent.process.signal('SIGTERM');
    for (const signal of [drain, cancel]) {
      if (signal.aborted) stop();
      else signal.addEventListener('abort', stop, { once: true });
    }
    let end: ProcessEnd | undefined;
    void agent.process.ended.then((how) => (end = how));
    const since = performance.now();
    let wishedSince: number | undefined;
    try {
      for (;;) {
        const lookAfterMs = this.#timing.lookMs / (this.#record?.phase === 'proving' ? 5 : 1);
        const timer = new AbortController();
        await Promise.race([agent.process.ended, wait(lookAfterMs, undefined, { signal: timer.signal })]);
        timer.abort();
        const record = this.#record;
        if (record?.phase === 'proving') {
          // Looked at before the end is: it was healthy, and what came after is a crash like any other.
          if ((await readHealthy(this.#folder)) === agent.start) {
            say(`${agent.version} is healthy`);
            await this.#save({ ...record, phase: 'healthy' });
            await pruneVersions(this.#folder, this.#files, [record.from, record.to]);
          } else if (end !== undefined && isKnown(end) && !drain.aborted) {
            await this.#goBack('VERSION_ENDED_AT_START', `it ended before it was healthy: ${endText(end)}`);
          } else if (end === undefined && performance.now() - since > record.healthyWithinMs) {
            await this.#goBack('VERSION_NOT_HEALTHY_IN_TIME', `it was not healthy within ${record.healthyWithinMs} ms`);
            // It has no session, so it has nothing to bring to its end.
            await this.#end(agent, unprovenKillAfterMs);
          }
        }
        if (end !== undefined) return end;
        wishedSince = (await readWish(this.#folder)) === undefined ? undefined : (wishedSince ?? performance.now());
        if (wishedSince !== undefined && performance.now() - wishedSince > this.#timing.leaveWithinMs) {
          say(`${agent.version} asked for a switch and has not ended; it is ended`);
          await this.#end(agent);
        }
      }
    } finally {
      for (const signal of [drain, cancel]) signal.removeEventListener('abort', stop);
    }
  }

  /** SIGTERM, then SIGKILL. Resolves when it has ended. */
  async #end(agent: RunningAgent, killAfterMs = this.#timing.killAfterMs): Promise<void> {
    const timer = setTimeout(() => agent.process.signal('SIGKILL'), killAfterMs);
    agent.process.signal('SIGTERM');
    await agent.process.ended;
    clearTimeout(timer);
  }

  async #goBack(code: SwitchReason['code'], message: string): Promise<void> {
    const record = this.#record!;
    this.#deps.say(`going back to ${record.from}, for ${record.to}: ${message}`);
    await this.#save({ ...record, phase: 'going-back', reason: { code, message } });
  }

  async #finishGoingBack(record: SwitchRecord): Promise<void> {
    await makeCurrent(this.#folder, this.#files, record.from);
    await this.#save({ ...record, phase: 'rolled-back' });
    await pruneVersions(this.#folder, this.#files, [record.from, record.to]);
  }

  async #save(record: SwitchRecord): Promise<void> {
    await replaceFile(this.#files, this.#folder.switch, `${JSON.stringify(record)}\n`);
    this.#record = record;
  }
}

/** False for another supervisor's child: it may have ended with that one, before it began. It counts as interrupted. */
function isKnown({ code, signal }: ProcessEnd): boolean {
  return code !== undefined || signal !== undefined;
}

function endText({ code, signal }: ProcessEnd): string {
  if (signal !== undefined) return signal;
  return code === undefined ? 'how is not known' : `exit code ${code}`;
}

function noVersion({ home }: SupervisorFolder): SupervisorError {
  return new SupervisorError(
    'VERSION_MISSING',
    `${home} has no complete current version; drover bundles install puts the first one there`,
  );
}
