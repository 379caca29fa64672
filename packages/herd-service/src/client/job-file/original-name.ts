import { confinedPath, type ConfinedPath } from '@drover/job-text';

/** Where the original herd puts a file in a job's folder: without the dots and slashes that its name begins with. */
export function originalName(name: string): ConfinedPath {
  return confinedPath(name.replaceAll('\\', '/').replace(/^[./]+/, ''));
}
