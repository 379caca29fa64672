import { mkdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { appLayouts, buildApp } from './build-apps.ts';
import { prepareBuild } from './prepare-build.ts';
import { runProgram } from './run-program.ts';
import { workspaceRoot } from './workspace-root.ts';

/** `npm run build:apps [-- APP…] [--out FOLDER] [--archives]`: the apps as an operator deploys them. */
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { out: { type: 'string' }, archives: { type: 'boolean', default: false } },
});
const names = positionals.length === 0 ? Object.keys(appLayouts) : positionals;
const unknown = names.filter((name) => !Object.hasOwn(appLayouts, name));
if (unknown.length > 0) {
  console.error(`There is no app ${unknown.join(', ')}. Apps: ${Object.keys(appLayouts).join(', ')}.`);
  process.exit(2);
}
const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort(new Error('stopped')));
const out = resolve(values.out ?? join(workspaceRoot, 'dist/apps'));
await mkdir(out, { recursive: true });
await using prepared = await prepareBuild(stop.signal);
for (const name of names) {
  const app = appLayouts[name]!;
  const folder = join(out, app.name);
  await buildApp(app, { ...prepared, folder, signal: stop.signal });
  const size = (await runProgram('du', ['-sm', folder], { cwd: out, signal: stop.signal })).split('\t')[0];
  console.log(`${folder}  ${size} MiB`);
  if (!values.archives) continue;
  const archive = `${app.name}-${process.platform}-${process.arch}.tar.gz`;
  await runProgram('tar', ['-czf', archive, app.name], { cwd: out, signal: stop.signal });
  console.log(join(out, archive));
}
