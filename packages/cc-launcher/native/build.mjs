// Builds the launcher: `node build.mjs --out FILE [--compiler PROGRAM]`. The same source and compiler give the same bytes.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { parseArgs } from 'node:util';

const { values } = parseArgs({
  options: { out: { type: 'string' }, compiler: { type: 'string', default: 'musl-gcc' } },
});
if (values.out === undefined) {
  console.error('Say where to: --out FILE');
  process.exit(2);
}
const folder = import.meta.dirname;
const sources = readdirSync(folder)
  .filter((name) => name.endsWith('.c'))
  .sort();
const out = resolve(values.out);
mkdirSync(dirname(out), { recursive: true });
const warnings = ['-Wall', '-Wextra', '-Werror'];
const fixed = [`-ffile-prefix-map=${folder}=.`, '-Wl,--build-id=none', '-s'];
const built = spawnSync(
  values.compiler,
  ['-std=gnu17', '-O2', '-static', ...warnings, ...fixed, '-o', out, ...sources],
  {
    cwd: folder,
    stdio: 'inherit',
    env: { ...process.env, SOURCE_DATE_EPOCH: '0', LC_ALL: 'C' },
  },
);
if (built.error) console.error(`${values.compiler}: ${built.error.message}; Debian's package musl-tools has it`);
process.exitCode = built.status ?? 1;
