import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Names of the packages and apps under `root` that hold more than empty modules: each must have a test. */
export function projectsWithCode(root: string): string[] {
  return ['packages', 'apps'].flatMap((group) =>
    readdirSync(join(root, group), { withFileTypes: true })
      .filter((entry) => entry.isDirectory() && hasCode(join(root, group, entry.name, 'src')))
      .map((entry) => entry.name),
  );
}

function hasCode(dir: string): boolean {
  let files: string[];
  try {
    files = readdirSync(dir, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => join(entry.parentPath, entry.name));
  } catch {
    return false; // no src: not a project
  }
  return files.some((file) => readFileSync(file, 'utf8').trim() !== 'export {};');
}
