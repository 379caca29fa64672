import { formatFiles, generateFiles, names } from '@nx/devkit';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { generatedCode } from './generated-code.mjs';

const allowed = /^[a-z][a-z0-9]*(-[a-z][a-z0-9]*)*$/;
const siblings = ['lease-kit', 'lease-protocol', 'lease-store', 'task-sources'];

/**
 * Writes the package of a lease type that is to be filled in. Plain JavaScript, since it runs on the Node that runs nx.
 *
 * @param {import('@nx/devkit').Tree} tree
 * @param {{ readonly name: string, readonly skipInstall?: boolean }} options
 * @returns {Promise<() => void>} To be called when the files are written: links the package into node_modules.
 */
export async function leaseTypeGenerator(tree, { name, skipInstall = false }) {
  if (!allowed.test(name) || name.length > 48) {
    throw new Error(
      `The name ${JSON.stringify(name)}: allowed are lower-case words with dashes, at most 48 characters.`,
    );
  }
  const dir = `packages/lease-type-${name}`;
  if (tree.exists(dir)) throw new Error(`${dir} is there already.`);
  const { className, propertyName } = names(name);
  const versions = Object.fromEntries(siblings.map((sibling) => [sibling, versionOf(tree, sibling)]));
  generateFiles(tree, join(import.meta.dirname ?? new URL('.', import.meta.url).pathname, 'files'), '.', {
    name,
    snake: name.replaceAll('-', '_'),
    pascal: className,
    camel: propertyName,
    words: name.replaceAll('-', ' '),
    versions,
    tmpl: '',
  });
  for (const [path, text] of Object.entries(generatedCode(tree, name))) tree.write(path, text);
  addRow(tree, name);
  await formatFiles(tree);
  return () => {
    if (!skipInstall) install(tree.root);
    console.log(`\nFill in ${dir}: "npx vitest run --project lease-type-${name}" says what is missing.`);
    console.log('Its row in docs/ARCHITECTURE.md and docs/checklists/lease-type.md are for you, too.');
  };
}

/** @param {import('@nx/devkit').Tree} tree @param {string} sibling */
function versionOf(tree, sibling) {
  return JSON.parse(tree.read(`packages/${sibling}/package.json`, 'utf8') ?? '{}').version;
}

/**
 * The package's row in the map, behind those of the other lease types.
 *
 * @param {import('@nx/devkit').Tree} tree
 * @param {string} name
 */
function addRow(tree, name) {
  const file = 'docs/ARCHITECTURE.md';
  const lines = (tree.read(file, 'utf8') ?? '').split('\n');
  const last = lines.findLastIndex((line) => /^\| lease type +\|/.test(line));
  if (last === -1) throw new Error(`${file} has no row of a lease type to put another behind.`);
  lines.splice(last + 1, 0, `| lease type | lease-type-${name} | Fill in: one sentence. |`);
  tree.write(file, lines.join('\n'));
}

/** @param {string} root */
function install(root) {
  const args = ['install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund'];
  const { status } = spawnSync('npm', args, { cwd: root, stdio: 'inherit' });
  if (status !== 0 || !existsSync(join(root, 'node_modules'))) {
    throw new Error('"npm install" failed: run it again, it links the new package.');
  }
}
