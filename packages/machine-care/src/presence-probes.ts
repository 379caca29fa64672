import { execFile } from 'node:child_process';
import { readFile, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock } from '@drover/lease-kit';
import type { PresenceProbe } from './presence-probe.ts';

/** What probes look at. */
export interface PresenceProbeDeps {
  readonly clock: Clock;
  /** The text that a program prints; undefined where it is not there, fails, or takes longer than 2 s. */
  readonly call?: (program: string, args: readonly string[], signal: AbortSignal) => Promise<string | undefined>;
  /** Root of the file system, but in tests. */
  readonly root?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** Every kind of trace that this machine may have. Those that tell nothing here cost a file that is not there. */
export function presenceProbes({
  clock,
  call = callProgram,
  root = '',
  env = process.env,
}: PresenceProbeDeps): readonly PresenceProbe[] {
  return [
    loginManager(clock, call),
    ...(env['DISPLAY'] === undefined ? [] : [screenSaver(call)]),
    terminals(clock, root),
    inputInterrupts(clock, root),
  ];
}

type Call = NonNullable<PresenceProbeDeps['call']>;

/** systemd-logind's own hint, which desktops report to it and which it takes of terminals (org.freedesktop.login1(5)). */
function loginManager(clock: Clock, call: Call): PresenceProbe {
  return {
    name: 'logind',
    async idleMs(signal) {
      const text = await call('loginctl', ['show-session', '--property=IdleHint', '--property=IdleSinceHint'], signal);
      const hint = /^IdleHint=(yes|no)$/m.exec(text ?? '')?.[1];
      if (hint === undefined) return undefined;
      if (hint === 'no') return 0;
      const since = Number(/^IdleSinceHint=(\d+)$/m.exec(text ?? '')?.[1] ?? 0);
      // Microseconds since the Unix epoch; 0 where nobody has ever been there.
      return since === 0 ? Infinity : Math.max(0, clock.wallMs() - since / 1_000);
    },
  };
}

/** The X server's own count, by `xprintidle`. */
function screenSaver(call: Call): PresenceProbe {
  return {
    name: 'xprintidle',
    async idleMs(signal) {
      const text = (await call('xprintidle', [], signal))?.trim() ?? '';
      return /^\d{1,15}$/.test(text) ? Number(text) : undefined;
    },
  };
}

const terminalsMax = 1_000;

/** What is typed on a terminal is read from it: its access time, to 8 s. What is printed on it does not count. */
function terminals(clock: Clock, root: string): PresenceProbe {
  return {
    name: 'terminals',
    async idleMs() {
      const folders: readonly (readonly [string, RegExp])[] = [
        [`${root}/dev/pts`, /^\d+$/],
        [`${root}/dev`, /^tty(\d+|S\d+|USB\d+)$/],
      ];
      let newestMs: number | undefined;
      for (const [folder, names] of folders) {
        const found = (await readdir(folder).catch(() => [])).filter((name) => names.test(name));
        for (const name of found.slice(0, terminalsMax)) {
          const used = await stat(join(folder, name)).catch(() => undefined);
          // The kernel dates a terminal that nobody has opened to the start of the machine.
          if (used !== undefined) newestMs = Math.max(newestMs ?? 0, used.atimeMs);
        }
      }
      return newestMs === undefined ? undefined : Math.max(0, clock.wallMs() - newestMs);
    },
  };
}

/** Interrupts of keyboard and mouse: a count that has grown since the last look. */
function inputInterrupts(clock: Clock, root: string): PresenceProbe {
  let last: { readonly count: number; readonly changedMs: number } | undefined;
  return {
    name: 'input interrupts',
    async idleMs() {
      const text = await readFile(`${root}/proc/interrupts`, 'latin1').catch(() => '');
      const lines = text.split('\n').filter((line) => /\b(i8042|keyboard|mouse|touchpad|psmouse)\b/i.test(line));
      if (lines.length === 0) return undefined;
      const count = lines.reduce((sum, line) => sum + countOf(line), 0);
      const nowMs = clock.monotonicMs();
      // Nobody knows what was before the first look.
      if (last === undefined) last = { count, changedMs: Number.NEGATIVE_INFINITY };
      else if (last.count !== count) last = { count, changedMs: nowMs };
      return nowMs - last.changedMs;
    },
  };
}

/** The sum over the processors: the numbers behind the colon. */
function countOf(line: string): number {
  const [, rest = ''] = line.split(':', 2);
  let sum = 0;
  for (const word of rest.trim().split(/\s+/)) {
    if (!/^\d+$/.test(word)) break;
    sum += Number(word);
  }
  return sum;
}

function callProgram(program: string, args: readonly string[], signal: AbortSignal): Promise<string | undefined> {
  return new Promise((resolve) => {
    const options = { timeout: 2_000, killSignal: 'SIGKILL', maxBuffer: 64 * 1024, signal } as const;
    execFile(program, [...args], { ...options, encoding: 'utf8' }, (error, stdout) =>
      resolve(error === null ? stdout : undefined),
    );
  });
}
