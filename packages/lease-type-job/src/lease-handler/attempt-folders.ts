import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

/** The folders of one attempt. */
export interface AttemptFolders {
  /** The working folder of the steps. */
  readonly work: string;
  readonly home: string;
  readonly temp: string;
  /** Where steps write their progress. */
  readonly progress: string;
}

/** Makes the folders of an attempt; harmless if they are there. */
export async function makeAttemptFolders(attemptDir: string): Promise<AttemptFolders> {
  const at = (name: string): string => join(attemptDir, name);
  const folders = { work: at('work'), home: at('home'), temp: at('tmp'), progress: at('progress') };
  for (const folder of Object.values(folders)) await mkdir(folder, { recursive: true });
  return folders;
}
