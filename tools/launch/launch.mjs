/**
 * The door of the workspace: `launch.mjs <command> [...args]`. It runs on whatever Node (20 or newer) is on PATH,
 * installs what is needed, and runs the command from source on the Node that the workspace brings.
 *
 * Plain JavaScript without a dependency, because it runs before there is any.
 */
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { installIfNeeded } from './install.mjs';
import { runToEnd } from './run.mjs';

/** Every command: the file that it runs, from the workspace's root, and the arguments that come before the caller's. */
const commands = {
  start: { entry: 'apps/cli/src/main.ts', args: ['up', '--example'] },
  test: { entry: 'tools/checks/src/main.ts', args: [] },
  bench: { entry: 'tools/bench/src/main.ts', args: [] },
  scenario: { entry: 'tools/scenario/src/main.ts', args: [] },
  'build:apps': { entry: 'tools/apps/src/main.ts', args: [] },
  'check:packages': { entry: 'tools/checks/src/long.ts', args: [] },
  'check:reconciler': { entry: 'packages/reconciler-state-machine/src/check/main.ts', args: [] },
  generate: { entry: 'tools/checks/src/generate.ts', args: [] },
};

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const [name = '', ...args] = process.argv.slice(2);
const command = Object.hasOwn(commands, name) ? commands[name] : undefined;
const oldestNode = 20;

if (command === undefined) {
  console.error(`Unknown command "${name}". One of: ${Object.keys(commands).join(', ')}.`);
  process.exitCode = 2;
} else if (Number.parseInt(process.versions.node, 10) < oldestNode) {
  console.error(
    `Node ${process.versions.node} is too old to install the workspace; it needs Node ${oldestNode} or newer.`,
  );
  process.exitCode = 2;
} else if (await installIfNeeded(root)) {
  process.exitCode = await runToEnd(root, join(root, command.entry), [...command.args, ...args]);
} else {
  process.exitCode = 1;
}
