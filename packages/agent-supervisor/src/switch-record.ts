import { readFile } from 'node:fs/promises';
import type { SupervisorFolder } from './supervisor-folder.ts';

/** What an agent asks of its supervisor. */
export interface SwitchWish {
  /** Chosen by the agent, unique: the outcome is found by it. */
  readonly id: string;
  /** Name of the version's folder, which is complete. */
  readonly to: string;
  /** How long the new version has to prove healthy, from its start. */
  readonly healthyWithinMs: number;
}

/**
 * How a switch stands.
 *
 * ```
 *   wish ──▶ switching ──link moved──▶ proving ──told healthy──▶ healthy
 *                                         │ ended, not in time, interrupted twice
 *                                         ▼
 *                                     going-back ──link moved back──▶ rolled-back
 * ```
 *
 * Each phase is on the disk before what follows it is done, and all that is done in a phase can be done again.
 */
export interface SwitchRecord extends SwitchWish {
  readonly from: string;
  readonly phase: 'switching' | 'proving' | 'healthy' | 'going-back' | 'rolled-back';
  /** How often the new version was started to prove itself. */
  readonly starts: number;
  /** Why it went back. */
  readonly reason?: SwitchReason;
}

/** Why a switch was undone, or not begun. */
export interface SwitchReason {
  readonly code:
    | 'VERSION_ENDED_AT_START'
    | 'VERSION_NOT_HEALTHY_IN_TIME'
    | 'VERSION_INTERRUPTED'
    | 'VERSION_CANNOT_START'
    | 'VERSION_MISSING'
    | 'VERSION_RUNS_ALREADY';
  readonly message: string;
}

/** Which process is the agent. */
export interface StartRecord {
  /** Drawn for each start. */
  readonly start: string;
  /** Name of the version's folder. */
  readonly version: string;
  readonly pid: number;
  /** With the pid, it names one process of this boot. */
  readonly startTime: string;
  readonly bootId: string;
}

const namePattern = /^[0-9A-Za-z][0-9A-Za-z.+-]{0,127}$/;

/** True for a name that the folder of a version can have. */
export function isVersionName(name: unknown): name is string {
  return typeof name === 'string' && namePattern.test(name);
}

/** The wish that waits; undefined if there is none that can be read. */
export async function readWish(folder: SupervisorFolder): Promise<SwitchWish | undefined> {
  const wish = await readRecord<SwitchWish>(folder.wish);
  const valid = typeof wish?.id === 'string' && isVersionName(wish.to) && wish.healthyWithinMs > 0;
  return valid ? wish : undefined;
}

/** The newest switch; undefined if there was none. */
export async function readSwitch(folder: SupervisorFolder): Promise<SwitchRecord | undefined> {
  const record = await readRecord<SwitchRecord>(folder.switch);
  return isVersionName(record?.from) && isVersionName(record.to) ? record : undefined;
}

/** The newest start; undefined if there was none. */
export async function readStart(folder: SupervisorFolder): Promise<StartRecord | undefined> {
  const record = await readRecord<StartRecord>(folder.start);
  return typeof record?.start === 'string' && isVersionName(record.version) ? record : undefined;
}

/** The start that was told healthy last. */
export async function readHealthy(folder: SupervisorFolder): Promise<string | undefined> {
  return (await readRecord<{ readonly start: string }>(folder.healthy))?.start;
}

/** Files are replaced whole, so one that is no JSON was not written by Drover: it counts as absent. */
export async function readRecord<Value>(path: string): Promise<Value | undefined> {
  try {
    return JSON.parse(await readFile(path, 'utf8')) as Value;
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
