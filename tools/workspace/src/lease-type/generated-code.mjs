import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

/**
 * What buf makes of the new proto file, by path. It runs in a folder of its own, so that a dry run leaves nothing behind.
 *
 * @param {import('@nx/devkit').Tree} tree
 * @param {string} name
 * @returns {Record<string, string>}
 */
export function generatedCode(tree, name) {
  const snake = name.replaceAll('-', '_');
  const template = `buf.gen.${name}.yaml`;
  const folder = mkdtempSync(join(tmpdir(), 'drover-lease-type-'));
  try {
    for (const path of [`proto/drover/${snake}/v1/${snake}.proto`, template]) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), tree.read(path, 'utf8') ?? '');
    }
    writeFileSync(join(folder, 'buf.yaml'), 'version: v2\nmodules:\n  - path: proto\n');
    const bin = join(tree.root, 'node_modules', '.bin');
    const { status, stderr, error } = spawnSync(join(bin, 'buf'), ['generate', '--template', template], {
      cwd: folder,
      encoding: 'utf8',
      env: { ...process.env, PATH: `${bin}${delimiter}${process.env['PATH'] ?? ''}` },
    });
    if (status !== 0) throw new Error(`buf generate failed: ${error?.message ?? stderr}`);
    const made = readdirSync(join(folder, 'packages'), { recursive: true, withFileTypes: true });
    return Object.fromEntries(
      made
        .filter((entry) => entry.isFile())
        .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
        .map((file) => [file.slice(folder.length + 1), readFileSync(file, 'utf8')]),
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
