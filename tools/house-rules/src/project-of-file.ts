import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The package that a file belongs to. */
export interface ProjectOfFile {
  /** Absolute folder of its package.json. */
  readonly dir: string;
  /** Its `nx.tags`, such as `side:agent`. */
  readonly tags: readonly string[];
}

const projectByDir = new Map<string, ProjectOfFile | undefined>();

/** The nearest package at or above the file's folder; the file itself need not exist. Absent outside any package. */
export function projectOfFile(file: string): ProjectOfFile | undefined {
  return projectOfDir(dirname(file));
}

function projectOfDir(dir: string): ProjectOfFile | undefined {
  if (projectByDir.has(dir)) return projectByDir.get(dir);
  const parent = dirname(dir);
  const manifest = join(dir, 'package.json');
  let project: ProjectOfFile | undefined;
  if (existsSync(manifest)) {
    const { nx } = JSON.parse(readFileSync(manifest, 'utf8')) as { nx?: { tags?: string[] } };
    project = { dir, tags: nx?.tags ?? [] };
  } else if (parent !== dir) {
    project = projectOfDir(parent);
  }
  projectByDir.set(dir, project);
  return project;
}
