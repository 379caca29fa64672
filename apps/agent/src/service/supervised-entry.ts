import { DroverError } from '@drover/lease-kit';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** The file that starts the current version in a supervisor's folder. Throws `VERSION_MISSING`. */
export async function firstVersionOf(home: string): Promise<string> {
  const record = join(home, 'current', 'version.json');
  try {
    const { entry } = JSON.parse(await readFile(record, 'utf8')) as { readonly entry: string };
    return entry;
  } catch (error) {
    throw new DroverError({
      code: 'VERSION_MISSING',
      advice: 'fix-input',
      message: `${home} has no version of the agent yet: drover bundles install BUNDLE --key KEY --home ${home} puts the first one there`,
      cause: error,
    });
  }
}
