import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { runProgram } from './run-program.ts';
import { workspaceRoot } from './workspace-root.ts';

/** A package or app of the workspace that is published. */
export interface PublishedPackage {
  readonly name: string;
  readonly version: string;
  readonly manifest: Readonly<Record<string, unknown>>;
  /** From the root. */
  readonly dir: string;
}

/** What `npm publish` would send of one package. */
export interface PackedPackage extends PublishedPackage {
  /** Path of the `.tgz`. */
  readonly archive: string;
}

/** Packs every package and app that is published, as `npm publish` would, into `folder`. They must have been built. */
export async function packWorkspace(folder: string, signal: AbortSignal): Promise<readonly PackedPackage[]> {
  const published = publishedPackages();
  const dirs = published.map(({ dir }) => `./${dir}`);
  const args = ['pack', '--json', '--ignore-scripts', `--pack-destination=${folder}`, ...dirs];
  const json = await runProgram('npm', args, { cwd: workspaceRoot, signal });
  // Newer versions of npm answer an object by name, older ones a list.
  const packed = Object.values(JSON.parse(json) as Record<string, { name: string; filename: string }>);
  return packed.map(({ name, filename }) => ({
    ...published.find((one) => one.name === name)!,
    archive: join(folder, filename),
  }));
}

function publishedPackages(): PublishedPackage[] {
  return ['packages', 'apps'].flatMap((group) =>
    readdirSync(join(workspaceRoot, group)).flatMap((folder) => {
      const dir = `${group}/${folder}`;
      const file = join(workspaceRoot, dir, 'package.json');
      if (!existsSync(file)) return [];
      const manifest = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
      const { name, version } = manifest as { name: string; version: string };
      return manifest['private'] === true ? [] : [{ name, version, manifest, dir }];
    }),
  );
}
