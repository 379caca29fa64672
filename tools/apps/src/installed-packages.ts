import { existsSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { PackedPackage } from './pack-workspace.ts';
import { tarFolder } from './tar-folder.ts';
import { workspaceRoot } from './workspace-root.ts';

/** A version of a package that can be installed without asking anybody else. */
export interface OfferedVersion {
  readonly version: string;
  readonly manifest: Readonly<Record<string, unknown>>;
  archive(): Promise<Buffer>;
}

/** Versions by the name of their package. */
export type OfferedPackages = ReadonlyMap<string, readonly OfferedVersion[]>;

/** What the workspace has: its own packages as they were packed, and those of others as they are installed in it. */
export function offeredPackages(packed: readonly PackedPackage[]): OfferedPackages {
  const offered = new Map<string, OfferedVersion[]>();
  const add = (name: string, one: OfferedVersion): void => {
    const versions = offered.get(name) ?? [];
    if (!versions.some(({ version }) => version === one.version)) offered.set(name, [...versions, one]);
  };
  for (const { name, version, manifest, archive } of packed) {
    add(name, { version, manifest, archive: () => readFile(archive) });
  }
  const lock = readJson(join(workspaceRoot, 'node_modules/.package-lock.json'));
  for (const [path, entry] of Object.entries(lock['packages'] as Record<string, { link?: boolean }>)) {
    const dir = join(workspaceRoot, path);
    if (entry.link === true || !path.includes('node_modules/') || !existsSync(join(dir, 'package.json'))) continue;
    const manifest = readJson(join(dir, 'package.json'));
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    add(name, { version: String(manifest['version']), manifest, archive: () => tarFolder(dir) });
  }
  return offered;
}

function readJson(file: string): Record<string, unknown> {
  return JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
}
