import { spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { constants } from 'node:os';

/** Names one process, until the machine is started again. */
export interface ProcessName {
  readonly pid: number;
  readonly startTime: string;
  readonly bootId: string;
}

/** How a process ended. Both absent: nobody knows, for it was another supervisor's child. */
export interface ProcessEnd {
  readonly code?: number;
  readonly signal?: string;
}

/** A process of the agent. */
export interface AgentProcess {
  readonly name: ProcessName;
  /** Lets it begin. Nothing of the agent runs before, and it ends if its supervisor does. */
  go(): void;
  /** To the whole process group. */
  signal(signal: 'SIGTERM' | 'SIGKILL'): void;
  readonly ended: Promise<ProcessEnd>;
}

/** How processes are started and found again. */
export interface AgentProcesses {
  /** Starts a program, held back until `go()`. Rejects if the process cannot be made. */
  start(command: readonly string[], environment: Readonly<Record<string, string>>): Promise<AgentProcess>;
  /** A process that an earlier supervisor started; undefined when it has ended. */
  find(name: ProcessName): AgentProcess | undefined;
}

/** How often a process that is not our child is looked at. */
const lookMs = 200;

/** The processes of this machine (POSIX). */
export const machineProcesses: AgentProcesses = {
  async start(command, environment) {
    // The shell waits for a line, so that the process is on record before the agent does anything; exec keeps its pid.
    const hold = 'IFS= read -r go && exec "$@" </dev/null';
    const child = spawn('/bin/sh', ['-c', hold, 'drover-agent', ...command], {
      stdio: ['pipe', 'inherit', 'inherit'],
      env: { ...process.env, ...environment },
      // A Ctrl-C in a terminal reaches it through the supervisor alone.
      detached: true,
    });
    const ended = new Promise<ProcessEnd>((resolve) => {
      child.once('exit', (code, signal) =>
        resolve({ ...(code === null ? {} : { code }), ...(signal ? { signal } : {}) }),
      );
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', reject);
    });
    child.stdin.on('error', () => undefined);
    const pid = child.pid!;
    return {
      name: { pid, startTime: startTimeOf(pid) ?? '', bootId: bootId() },
      go: () => void child.stdin.end('go\n'),
      signal: (signal) => signalGroup(pid, signal),
      ended,
    };
  },
  find(name) {
    const isAlive = (): boolean => name.bootId === bootId() && startTimeOf(name.pid) === name.startTime;
    if (!isAlive()) return undefined;
    const ended = new Promise<ProcessEnd>((resolve) => {
      const timer = setInterval(() => {
        if (isAlive()) return;
        clearInterval(timer);
        resolve({});
      }, lookMs);
    });
    return { name, go: () => undefined, signal: (signal) => signalGroup(name.pid, signal), ended };
  },
};

function signalGroup(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(-pid, constants.signals[signal]);
  } catch {
    // It has ended.
  }
}

/** When a process was started, in a form that only it has; undefined for none, and for one that only waits for its parent. */
export function startTimeOf(pid: number): string | undefined {
  if (process.platform !== 'linux') {
    const { stdout } = spawnSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], { encoding: 'utf8' });
    const line = stdout.trim();
    return line === '' || line.startsWith('Z') ? undefined : line.slice(line.indexOf(' ') + 1).trim();
  }
  try {
    const line = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The name of the program stands in parentheses and may hold any character; what follows is proc_pid_stat(5)'s field 3.
    const fields = line.slice(line.lastIndexOf(')') + 2).split(' ');
    return 'ZXx'.includes(fields[0]!) ? undefined : fields[19];
  } catch {
    return undefined;
  }
}

/** Differs after every start of the machine, where the system says so. */
export function bootId(): string {
  try {
    return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
  } catch {
    return '';
  }
}
