// Gives a working copy of this repository its packages without an install: third-party ones are links to those that are
// installed elsewhere, @drover/* are links to the folders of the working copy itself.
import { lstatSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';

const installed = resolve(process.argv[2] ?? '');
const target = resolve('node_modules');

/** Every package folder of a node_modules folder, scoped ones one by one. */
function packagesOf(folder) {
  return readdirSync(folder)
    .filter((name) => !name.startsWith('.'))
    .flatMap((name) =>
      name.startsWith('@') ? readdirSync(join(folder, name)).map((part) => `${name}/${part}`) : [name],
    );
}

let thirdParty = 0;
let own = 0;
mkdirSync(target, { recursive: true });
symlinkSync(join(installed, '.bin'), join(target, '.bin'));
for (const name of packagesOf(installed)) {
  if (name.startsWith('@drover/')) continue;
  mkdirSync(join(target, name, '..'), { recursive: true });
  symlinkSync(join(installed, name), join(target, name));
  thirdParty += 1;
}
for (const group of ['packages', 'apps', 'tools']) {
  for (const folder of readdirSync(group)) {
    const manifest = join(group, folder, 'package.json');
    if (!statSync(manifest, { throwIfNoEntry: false })) continue;
    const { name } = JSON.parse(readFileSync(manifest, 'utf8'));
    mkdirSync(join(target, name, '..'), { recursive: true });
    symlinkSync(resolve(group, folder), join(target, name));
    own += 1;
    // Packages that are installed below one of ours, because two of ours want different versions.
    const nested = join(installed, '..', group, folder, 'node_modules');
    if (lstatSync(nested, { throwIfNoEntry: false })) symlinkSync(nested, join(group, folder, 'node_modules'));
  }
}
console.log(`linked ${thirdParty} installed packages and ${own} packages of the working copy`);
