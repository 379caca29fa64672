import { messageOf } from '@drover/lease-kit';
import { existsSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { exports as resolveExports } from 'resolve.exports';
import { leaseTypeError } from './lease-type-errors.ts';

/** What a package's name may be, as npm has it; no path, no address. */
export const packageNamePattern = /^(@[a-z0-9~-][a-z0-9._~-]*\/)?[a-z0-9~-][a-z0-9._~-]*$/;

/** A package in a node_modules folder. */
export interface InstalledPackage {
  readonly name: string;
  readonly version: string;
  /** Absolute. */
  readonly dir: string;
  readonly manifest: Readonly<Record<string, unknown>>;
}

/**
 * The package `name` in the node_modules folders of `from`, in that order: each folder itself, then those above it, as Node
 * looks for packages. Throws LEASE_TYPE_NOT_INSTALLED.
 */
export function findInstalledPackage(name: string, from: readonly string[]): InstalledPackage {
  const folders = packageNamePattern.test(name) ? from.flatMap(foldersUpwards) : [];
  const modules = [...new Set(folders.map((folder) => join(folder, 'node_modules')))];
  const dir = modules.map((folder) => join(folder, name)).find(isPackage);
  if (dir !== undefined) return readPackage(name, dir);
  const places = modules.filter((folder) => existsSync(folder)).join(', then in ');
  throw leaseTypeError(
    'LEASE_TYPE_NOT_INSTALLED',
    name,
    `there is no such package in ${places || 'any node_modules folder'}; "npm install ${name}" beside the app adds it`,
  );
}

/** The URL of a subpath such as `./task-source`, by the package's `exports`. Throws LEASE_TYPE_PACKAGE_INVALID. */
export function subpathUrl(found: InstalledPackage, subpath: string, conditions: readonly string[]): string {
  let targets: readonly string[] | void;
  try {
    targets =
      found.manifest['exports'] === undefined ? undefined : resolveExports(found.manifest, subpath, { conditions });
  } catch {
    targets = undefined; // It throws for a subpath that is not exported.
  }
  const target = targets?.[0];
  if (target === undefined) {
    throw leaseTypeError(
      'LEASE_TYPE_PACKAGE_INVALID',
      found.name,
      `"exports" of ${join(found.dir, 'package.json')} has no "${subpath}" that can be imported`,
    );
  }
  const file = join(found.dir, target);
  if (!existsSync(file)) {
    throw leaseTypeError(
      'LEASE_TYPE_PACKAGE_INVALID',
      found.name,
      `"${subpath}" leads to ${file}, which is not there: was the package built before it was packed?`,
    );
  }
  return pathToFileURL(file).href;
}

/** The conditions that this process was started with beside Node's own, e.g. the one that leads to source. */
export function conditionsOf(execArgv: readonly string[]): readonly string[] {
  return execArgv.flatMap((flag, i) => {
    if (flag === '-C' || flag === '--conditions') return [execArgv[i + 1] ?? ''];
    const given = /^--conditions=(.+)$/.exec(flag)?.[1];
    return given === undefined ? [] : [given];
  });
}

function isPackage(dir: string): boolean {
  return statSync(join(dir, 'package.json'), { throwIfNoEntry: false })?.isFile() === true;
}

function foldersUpwards(folder: string): string[] {
  const here = resolve(folder);
  const parent = dirname(here);
  return parent === here ? [here] : [here, ...foldersUpwards(parent)];
}

function readPackage(name: string, dir: string): InstalledPackage {
  const file = join(dir, 'package.json');
  try {
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>;
    return { name, version: String(manifest['version']), dir, manifest };
  } catch (error) {
    throw leaseTypeError('LEASE_TYPE_PACKAGE_INVALID', name, `${file} cannot be read: ${messageOf(error)}`, error);
  }
}
