import { spawn, type ChildProcess } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { existsSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A process that plays a machine: it runs an agent, draws a boot id at every start, restarts at SIGUSR1 and switches itself
 * off at SIGUSR2. How it comes back is its first argument: `new` boot id, `cut` (the same without a polite signal), `same` boot
 * id, `late` (with a new one, when the file `power` is in its folder), or `never`. Then a folder for its pid, its boot id and
 * the file `down`, which says that it went down, and the arguments of the agent.
 */
const [comesBack = 'new', dir = '', ...args] = process.argv.slice(2);
const main = join(import.meta.dirname, '../main.ts');
const bootIdFile = join(dir, 'boot-id');

let agent: ChildProcess | undefined;
let isOn = true;

function boot(isNew: boolean): void {
  if (isNew) writeFileSync(bootIdFile, `${randomUUID()}\n`);
  const flags = ['--conditions=@drover/source', '--disable-warning=ExperimentalWarning'];
  const child = spawn(process.execPath, [...flags, main, 'agent', `--agent-boot-id-file=${bootIdFile}`, ...args], {
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  agent = child;
}

/** As an init system does: a polite signal, then an end. */
async function goDown(): Promise<void> {
  const child = agent;
  agent = undefined;
  if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill(comesBack === 'cut' ? 'SIGKILL' : 'SIGTERM');
  const impatient = setTimeout(() => child.kill('SIGKILL'), 3_000);
  await exited;
  clearTimeout(impatient);
  if (isOn) writeFileSync(join(dir, 'down'), '');
}

/** Resolves when somebody switches the machine on again. */
function power(): Promise<void> {
  const file = join(dir, 'power');
  return new Promise((resolve) => {
    const watcher = watch(dir);
    const look = (): void => {
      if (!existsSync(file)) return;
      watcher.close();
      resolve();
    };
    watcher.on('change', look);
    look();
  });
}

process.on('SIGUSR1', () => {
  void goDown().then(async () => {
    if (comesBack === 'late') await power();
    if (isOn && comesBack !== 'never') boot(comesBack !== 'same');
  });
});
process.on('SIGUSR2', () => {
  void goDown().then(() => {
    if (isOn && comesBack === 'same') boot(false);
  });
});
const end = (): void => {
  isOn = false;
  void goDown().then(() => process.exit(0));
};
process.on('SIGTERM', end);
// Whoever started it has gone.
process.on('disconnect', end);
// The crash of an agent, which whoever supervises it starts again.
process.on('SIGHUP', () => {
  const child = agent;
  child?.once('exit', () => boot(false));
  child?.kill('SIGKILL');
});

writeFileSync(join(dir, 'pid'), String(process.pid));
boot(true);
setInterval(() => undefined, 1_000_000);
