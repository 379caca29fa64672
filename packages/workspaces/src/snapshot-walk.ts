import { DroverError } from '@drover/lease-kit';
import { readFile, readdir, readlink, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { parseIgnoreRules, type IgnoreRules } from './ignore-rules.ts';

/** Something that a snapshot holds; empty folders are not among it, as in git. */
export type SnapshotEntry =
  | { readonly kind: 'file'; readonly path: string; readonly executable: boolean; readonly sizeBytes: number }
  | { readonly kind: 'link'; readonly path: string; readonly target: string };

/** What a walk leaves out and how far it goes. */
export interface SnapshotWalkOptions {
  /** Lines in the format of gitignore(5), for the whole folder; a `.gitignore` may take them back. */
  readonly excludes: readonly string[];
  /** A folder that is never entered, such as the destination inside the source. */
  readonly skipDir: string;
  readonly filesMax: number;
  readonly sizeBytesMax: number;
}

interface IgnoreLevel {
  readonly prefix: string;
  readonly rules: IgnoreRules;
}

/**
 * Lists a folder in the order of the paths' bytes, without what its `.gitignore` files and `excludes` leave out. Sockets,
 * pipes and devices are passed over. Throws `WORKSPACE_TOO_LARGE` (`exhausted`) and, for a symbolic link that leads out
 * of the folder, `WORKSPACE_LINK_ESCAPES` (`fix-input`).
 */
export async function walkSnapshot(
  root: string,
  options: SnapshotWalkOptions,
  signal: AbortSignal,
): Promise<SnapshotEntry[]> {
  const entries: SnapshotEntry[] = [];
  let sizeBytes = 0;
  const base = parseIgnoreRules(options.excludes.join('\n'));
  await walk('', [{ prefix: '', rules: base }]);
  return entries.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));

  async function walk(folder: string, above: readonly IgnoreLevel[]): Promise<void> {
    signal.throwIfAborted();
    const found = await readdir(join(root, folder), { withFileTypes: true });
    const own = found.some((entry) => entry.name === '.gitignore' && entry.isFile());
    const rules = own
      ? [
          ...above,
          { prefix: folder, rules: parseIgnoreRules(await readFile(join(root, folder, '.gitignore'), 'utf8')) },
        ]
      : above;
    for (const entry of found) {
      const path = folder === '' ? entry.name : `${folder}/${entry.name}`;
      if (isIgnored(rules, path, entry.isDirectory()) || join(root, path) === options.skipDir) continue;
      if (entry.isDirectory()) await walk(path, rules);
      else if (entry.isSymbolicLink()) add({ kind: 'link', path, target: await readInnerLink(path) });
      else if (entry.isFile()) {
        const { mode, size } = await stat(join(root, path));
        add({ kind: 'file', path, executable: (mode & 0o100) !== 0, sizeBytes: size });
      }
    }
  }

  function add(entry: SnapshotEntry): void {
    entries.push(entry);
    if (entry.kind === 'file') sizeBytes += entry.sizeBytes;
    const { filesMax, sizeBytesMax } = options;
    if (entries.length <= filesMax && sizeBytes <= sizeBytesMax) return;
    throw new DroverError({
      code: 'WORKSPACE_TOO_LARGE',
      advice: 'exhausted',
      message: `A snapshot of ${root} would hold more than ${filesMax} files or ${sizeBytesMax} bytes; exclude some of it`,
      details: { filesMax, sizeBytesMax },
    });
  }

  async function readInnerLink(path: string): Promise<string> {
    const target = await readlink(join(root, path));
    const inside = posix.normalize(posix.join(posix.dirname(path), target));
    if (!posix.isAbsolute(target) && inside !== '..' && !inside.startsWith('../')) return target;
    throw new DroverError({
      code: 'WORKSPACE_LINK_ESCAPES',
      advice: 'fix-input',
      message: `The symbolic link ${path} leads out of the folder, to ${target}; exclude it or make it relative and inner`,
      details: { path, target },
    });
  }
}

/** The deepest level that says something decides; its rules see paths relative to their own folder. */
function isIgnored(levels: readonly IgnoreLevel[], path: string, isFolder: boolean): boolean {
  for (const { prefix, rules } of levels.toReversed()) {
    const verdict = rules.verdict(prefix === '' ? path : path.slice(prefix.length + 1), isFolder);
    if (verdict !== undefined) return verdict === 'ignored';
  }
  return false;
}
