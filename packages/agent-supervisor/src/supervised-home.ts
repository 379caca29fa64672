import { resolve } from 'node:path';
import { machineFiles, replaceFile, type DurableFiles } from './durable-files.ts';
import { SupervisorError } from './supervisor-error.ts';
import { supervisorFolder } from './supervisor-folder.ts';
import { readStart, readSwitch, readWish, type SwitchRecord, type SwitchWish } from './switch-record.ts';
import {
  currentVersion,
  installVersion,
  makeCurrent,
  readVersion,
  versionName,
  type UnpackVersion,
  type VersionId,
  type VersionRecord,
} from './version-folders.ts';

/** The supervisor of this agent, as the agent sees it. */
export interface SupervisedHome {
  /** The version that this process is. */
  readonly running: VersionRecord & { readonly name: string };
  /** Puts a version beside the running one; answers its name. One that is there already is taken as it is. */
  install(id: VersionId, unpack: UnpackVersion): Promise<string>;
  /** Asks for a switch, which happens when this process has ended. */
  wishSwitch(wish: SwitchWish): Promise<void>;
  /** Takes a wish back. Of no use once this process has ended. */
  withdraw(id: string): Promise<void>;
  /** How a switch stands; undefined while the supervisor has not begun it, or has begun another since. */
  switchOf(id: string): Promise<SwitchRecord | undefined>;
  /** Says that this process is healthy. Repeating it changes nothing. */
  tellHealthy(): Promise<void>;
}

/** How a supervised agent knows its supervisor: what stands in its environment. */
export interface SupervisedHomeOptions {
  readonly home: string;
  /** The start that this process is. */
  readonly start: string;
}

/** Opens the supervisor's folder for the agent that it has started. Throws `NOT_SUPERVISED`. */
export async function openSupervisedHome(
  { home, start }: SupervisedHomeOptions,
  deps: { readonly files?: DurableFiles } = {},
): Promise<SupervisedHome> {
  const folder = supervisorFolder(resolve(home));
  const files = deps.files ?? machineFiles;
  const known = await readStart(folder);
  const record = known?.start === start ? await readVersion(folder, known.version) : undefined;
  if (known === undefined || record === undefined) {
    throw new SupervisorError('NOT_SUPERVISED', `the supervisor of ${home} has not started this process as its agent`);
  }
  return {
    running: { ...record, name: known.version },
    install: (version, unpack) => installVersion(folder, files, version, unpack),
    wishSwitch: (wish) => replaceFile(files, folder.wish, `${JSON.stringify(wish)}\n`),
    async withdraw(id) {
      if ((await readWish(folder))?.id !== id) return;
      await files.remove(folder.wish);
      await files.syncFolder(folder.home);
    },
    async switchOf(id) {
      const found = await readSwitch(folder);
      return found?.id === id ? found : undefined;
    },
    tellHealthy: () => replaceFile(files, folder.healthy, `${JSON.stringify({ start })}\n`),
  };
}

/**
 * Puts the first version into a supervisor's folder and makes it current; answers its name. Throws a TypeError if another is
 * current: an agent that runs is upgraded by a lease.
 */
export async function installFirstVersion(
  home: string,
  id: VersionId,
  unpack: UnpackVersion,
  files: DurableFiles = machineFiles,
): Promise<string> {
  const folder = supervisorFolder(resolve(home));
  await files.makeFolder(folder.versions);
  const current = await currentVersion(folder);
  if (current !== undefined && current !== versionName(id)) {
    throw new TypeError(`${home} has a current version, ${current}`);
  }
  const name = await installVersion(folder, files, id, unpack);
  await makeCurrent(folder, files, name);
  return name;
}
