// Supervises a folder and kills itself at a step: `killed-at-step HOME STEP`. A step that writes a file is cut in its middle.
import { writeFileSync } from 'node:fs';
import { machineProcesses } from './agent-process.ts';
import { machineFiles, type DurableFiles } from './durable-files.ts';
import { supervise } from './supervise.ts';

const [home, step] = process.argv.slice(2) as [string, string];
let steps = 0;

function count(): boolean {
  steps += 1;
  return steps === Number(step);
}

function die(): void {
  process.kill(process.pid, 'SIGKILL');
}

const files: DurableFiles = {
  makeFolder: async (path) => (count() ? die() : machineFiles.makeFolder(path)),
  async writeFile(path, text) {
    if (!count()) return machineFiles.writeFile(path, text);
    writeFileSync(path, text.slice(0, text.length / 2));
    die();
  },
  link: async (target, path) => (count() ? die() : machineFiles.link(target, path)),
  rename: async (from, to) => (count() ? die() : machineFiles.rename(from, to)),
  remove: async (path) => (count() ? die() : machineFiles.remove(path)),
  syncFolder: async (path) => (count() ? die() : machineFiles.syncFolder(path)),
};
const never = new AbortController().signal;
const drain = new AbortController();
process.on('SIGTERM', () => drain.abort());
process.exitCode = await supervise(
  { home, args: [], timing: { restartMinMs: 1, restartMaxMs: 1, killAfterMs: 500, lookMs: 50 } },
  {
    say: (line) => process.stdout.write(`${line}\n`),
    drain: drain.signal,
    cancel: never,
    files,
    processes: {
      find: machineProcesses.find,
      async start(command, environment) {
        if (count()) die();
        const agent = await machineProcesses.start(command, environment);
        return {
          ...agent,
          go() {
            if (count()) die();
            agent.go();
          },
        };
      },
    },
  },
);
