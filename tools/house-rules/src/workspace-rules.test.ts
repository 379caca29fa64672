import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';

const root = join(import.meta.dirname, '../../..');

interface Manifest {
  readonly name: string;
  readonly private?: boolean;
  readonly description?: string;
  readonly license?: string;
  readonly type?: string;
  readonly sideEffects?: boolean;
  readonly engines?: { readonly node?: string };
  readonly files?: readonly string[];
  readonly exports?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
  readonly nx?: { readonly tags?: readonly string[] };
}

const readManifest = (dir: string): Manifest =>
  JSON.parse(readFileSync(join(root, dir, 'package.json'), 'utf8')) as Manifest;

const dirs = ['packages', 'apps', 'tools'].flatMap((group) =>
  readdirSync(join(root, group))
    .map((name) => `${group}/${name}`)
    .filter((dir) => existsSync(join(root, dir, 'package.json'))),
);
const published = dirs.filter((dir) => readManifest(dir).private !== true);

/** What git tracks, or every file of an archive without .git but what is never tracked. */
function projectFiles(): string[] {
  if (existsSync(join(root, '.git'))) {
    const safe = ['-c', `safe.directory=${root}`];
    const list = execFileSync('git', [...safe, 'ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
      cwd: root,
      encoding: 'utf8',
      maxBuffer: 64 * 1024 * 1024,
    });
    return list.split('\0').filter((file) => file !== '' && existsSync(join(root, file)));
  }
  const untracked = new Set(['node_modules', 'dist', '.drover', '.nx', 'coverage']);
  const walk = (dir: string): string[] =>
    readdirSync(join(root, dir), { withFileTypes: true }).flatMap((entry) => {
      if (untracked.has(entry.name)) return [];
      const path = dir === '' ? entry.name : `${dir}/${entry.name}`;
      return entry.isDirectory() ? walk(path) : [path];
    });
  return walk('');
}

test('no file names the host of a package registry: each machine brings its own', () => {
  // Spelled in parts, since this file is looked at too.
  const hosts = ['registry', 'npm'].map((name) => `${name}\\.(npmjs|yarnpkg|npmmirror)\\.`).join('|');
  const registry = new RegExp(`${hosts}|//[a-z0-9.-]*(artifactory|jfrog|verdaccio|nexus|pkg\\.dev|codeartifact)`, 'i');
  const naming = projectFiles()
    .filter((file) => statSync(join(root, file)).isFile())
    .filter((file) => registry.test(readFileSync(join(root, file), 'utf8')));
  expect(naming).toEqual([]);
});

test('the lock file resolves no package to an address', () => {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { resolved?: string; link?: boolean; integrity?: string; version?: string }>;
  };
  const third = Object.entries(packages).filter(
    ([path, entry]) => path.includes('node_modules/') && entry.link !== true,
  );
  expect(third.filter(([, { resolved }]) => resolved !== undefined).map(([path]) => path)).toEqual([]);
  expect(third.filter(([, { integrity }]) => integrity === undefined).map(([path]) => path)).toEqual([]);
});

test('the lock file has every optional package, those for other platforms too: "npm ci" refuses it otherwise', () => {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { optionalDependencies?: Record<string, string> }>;
  };
  const present = new Set(Object.keys(packages).map((path) => path.slice(path.lastIndexOf('node_modules/'))));
  const wanted = Object.values(packages).flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}));
  // Missing when a version was published for some platforms only: choose the version before it.
  expect(wanted.filter((name) => !present.has(`node_modules/${name}`))).toEqual([]);
});

test('nx and every @nx/* stand at one version', () => {
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { version?: string }>;
  };
  const versions = Object.entries(packages)
    .filter(([path]) => /node_modules\/(nx|@nx\/[^/]+)$/.test(path))
    .map(([, { version }]) => version);
  expect(new Set(versions).size).toBe(1);
  const { devDependencies = {} } = readManifest('.');
  const wanted = Object.entries(devDependencies).filter(([name]) => name === 'nx' || name.startsWith('@nx/'));
  expect(wanted.map(([, range]) => range)).toEqual(wanted.map(() => versions[0]));
});

describe.each(dirs)('%s', (dir) => {
  const manifest = readManifest(dir);

  test('has a description, the licence and its two tags', () => {
    expect(manifest).toMatchObject({ license: 'Apache-2.0', type: 'module' });
    expect(manifest.description).toMatch(/\.$/);
    const tags = manifest.nx?.tags ?? [];
    expect(tags.filter((tag) => tag.startsWith('layer:'))).toHaveLength(1);
    expect(tags.filter((tag) => tag.startsWith('side:'))).toHaveLength(1);
  });

  test('asks for siblings by caret range', () => {
    const siblings = Object.entries(manifest.dependencies ?? {}).filter(([name]) => name.startsWith('@drover/'));
    expect(siblings.filter(([, range]) => !range.startsWith('^'))).toEqual([]);
  });
});

describe.each(published)('%s, which is published,', (dir) => {
  const manifest = readManifest(dir);

  test('has a README of its own and ships dist and no source, types first', () => {
    expect(readFileSync(join(root, dir, 'README.md'), 'utf8')).toContain(`# ${manifest.name}`);
    expect(manifest.engines?.node).toBe('>=22.12');
    expect(manifest.files).toContain('dist');
    expect(manifest.files?.filter((path) => path.startsWith('src'))).toEqual([]);
    if (dir.startsWith('packages/')) expect(manifest.sideEffects).toBe(false);
    for (const target of Object.values(manifest.exports ?? {})) {
      if (typeof target === 'object') expect(Object.keys(target)[0]).toBe('types');
    }
  });
});
