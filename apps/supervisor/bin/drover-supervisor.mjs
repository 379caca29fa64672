#!/usr/bin/env node
// Runs what was built where it is installed, and the source on the workspace's own Node in a checkout.
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';

const here = import.meta.dirname ?? new URL('.', import.meta.url).pathname;
const source = join(here, '../src/main.ts');
if (existsSync(source)) {
  const own = join(here, '../../../node_modules/node/bin/node');
  const child = spawn(
    existsSync(own) ? own : process.execPath,
    ['--conditions=@drover/source', '--disable-warning=ExperimentalWarning', source, ...process.argv.slice(2)],
    { stdio: 'inherit' },
  );
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal));
  child.on('exit', (code, signal) => {
    process.exitCode = code ?? (signal === 'SIGTERM' ? 143 : 130);
  });
} else {
  await import('../dist/main.js');
}
