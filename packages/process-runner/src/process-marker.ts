import { readFileSync } from 'node:fs';

/**
 * The environment variable that every process of a tree inherits. Its value is a list, outermost first, split by `;`:
 * a runner inside a process of another runner adds its own marker, so that ending the outer tree finds the inner ones.
 */
export const processKeyVariable = 'DROVER_PROCESS_KEY';

const markersMax = 16;

/** The marker of one tree: which runner (a state folder's id) and which key. */
export function markerOf(runnerId: string, key: string): string {
  return `${runnerId}:${encodeURIComponent(key)}`;
}

/** The value that a child gets: the markers that this process runs under, then its own; the outermost go first at 16. */
export function markerValue(marker: string, inherited: string | undefined): string {
  const outer = inherited === undefined || inherited === '' ? [] : inherited.split(';');
  return [...outer, marker].slice(-markersMax).join(';');
}

/** The markers in a block of `NAME=value` strings that end with NUL, as in `/proc/<pid>/environ`. */
export function markersInEnvironment(block: string): readonly string[] {
  const name = `${processKeyVariable}=`;
  const at = block.startsWith(name) ? 0 : block.indexOf(`\0${name}`) + 1;
  if (at === 0 && !block.startsWith(name)) return [];
  const end = block.indexOf('\0', at);
  return block.slice(at + name.length, end < 0 ? undefined : end).split(';');
}

/** The markers of a live process; none when it is gone or belongs to a user whom this one may not read. */
export function readMarkers(pid: number): readonly string[] {
  try {
    return markersInEnvironment(readFileSync(`/proc/${pid}/environ`, 'latin1'));
  } catch {
    return [];
  }
}

/** The key in a marker of this runner; undefined for another runner's. */
export function keyFromMarker(marker: string, runnerId: string): string | undefined {
  if (!marker.startsWith(`${runnerId}:`)) return undefined;
  try {
    return decodeURIComponent(marker.slice(runnerId.length + 1));
  } catch {
    return undefined;
  }
}
