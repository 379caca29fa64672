import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import type { RunCommand } from '../run-command.ts';
import { answerAsSystemd } from './answer-as-systemd.ts';

/** What the fake knows of one unit. */
export interface FakeUnit {
  /** As it was when systemd read it. */
  readonly text: string;
  readonly path: string;
  readonly active: 'active' | 'inactive' | 'failed';
  readonly starts: number;
}

/** What the fake systemd knows. */
export interface FakeSystemdState {
  /** What `is-system-running` says. */
  readonly running: string;
  readonly unitFolder: string;
  readonly scope: 'system' | 'user';
  readonly units: Readonly<Record<string, FakeUnit>>;
  readonly users: readonly string[];
  /** The next start fails, with these lines in the journal. */
  readonly failure?: readonly string[];
}

/** Programs that behave as those of systemd do, without one. */
export interface FakeSystemd {
  /** To be put in front of PATH: systemctl, journalctl, systemd-sysusers and id. */
  readonly binFolder: string;
  /** The same without processes. */
  readonly run: RunCommand;
  read(): FakeSystemdState;
  change(changed: Partial<FakeSystemdState>): void;
}

/**
 * Puts programs into a folder that check their arguments and refuse what the real ones refuse: units that they cannot find or
 * read, verbs and options that they do not know. They start no service.
 */
export function createFakeSystemd(
  folder: string,
  options: Pick<FakeSystemdState, 'scope' | 'unitFolder'>,
): FakeSystemd {
  const binFolder = join(folder, 'bin');
  const stateFile = join(folder, 'state.json');
  mkdirSync(binFolder, { recursive: true });
  const script = join(import.meta.dirname, `main${extname(import.meta.filename)}`);
  for (const name of ['systemctl', 'journalctl', 'systemd-sysusers', 'id']) {
    const path = join(binFolder, name);
    writeFileSync(
      path,
      `#!/bin/sh\nexec '${process.execPath}' --no-warnings '${script}' '${stateFile}' ${name} "$@"\n`,
    );
    chmodSync(path, 0o755);
  }
  const read = (): FakeSystemdState => JSON.parse(readFileSync(stateFile, 'utf8')) as FakeSystemdState;
  const write = (state: FakeSystemdState): void => writeFileSync(stateFile, JSON.stringify(state));
  write({ running: 'running', units: {}, users: ['root'], ...options });
  const run: RunCommand = async ([program, ...args], signal) => {
    signal.throwIfAborted();
    return answerAsSystemd(stateFile, program, args);
  };
  return { binFolder, run, read, change: (changed) => write({ ...read(), ...changed }) };
}
