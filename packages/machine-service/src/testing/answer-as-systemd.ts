import { existsSync, lstatSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { FakeSystemdState, FakeUnit } from './fake-systemd.ts';

import type { CommandResult } from '../run-command.ts';

class Refused extends Error {
  readonly code: number;
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** What one of the programs of systemd does and says, by the state that stands in a file. */
export function answerAsSystemd(stateFile: string, program: string, args: readonly string[]): CommandResult {
  let state = JSON.parse(readFileSync(stateFile, 'utf8')) as FakeSystemdState;
  let stdout = '';
  const say = (text: string): void => void (stdout += `${text}\n`);

  function change(name: string, changed: Partial<FakeUnit>): void {
    const unit = { ...state.units[name]!, ...changed };
    state = { ...state, units: { ...state.units, [name]: unit } };
  }

  /** The options among the arguments, which must be known; and the words. */
  function parsed(known: readonly (string | RegExp)[]): { readonly options: string[]; readonly words: string[] } {
    const options = args.filter((arg) => arg.startsWith('-'));
    const unknown = options.find(
      (option) => !known.some((one) => (one instanceof RegExp ? one.test(option) : one === option)),
    );
    if (unknown !== undefined) throw new Refused(1, `${program}: unrecognized option '${unknown}'`);
    return { options, words: args.filter((arg) => !arg.startsWith('-')) };
  }

  function onDisk(name: string): string | undefined {
    const path = join(state.unitFolder, name);
    return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
  }

  /** Reads a unit as the manager does when somebody asks for it; undefined if there is none. */
  function load(name: string): FakeUnit | undefined {
    const text = onDisk(name);
    if (state.units[name] === undefined && text !== undefined) {
      checkUnit(name, text);
      change(name, { text, path: join(state.unitFolder, name), active: 'inactive', starts: 0 });
    }
    return state.units[name];
  }

  function checkUnit(name: string, text: string): void {
    const bad = (why: string): Refused => new Refused(1, `Unit ${name} has a bad unit file setting: ${why}`);
    let section = '';
    for (const line of text.split('\n')) {
      if (line === '' || line.startsWith('#')) continue;
      const header = /^\[(\w+)\]$/.exec(line)?.[1];
      if (header !== undefined) {
        if (!['Unit', 'Service', 'Install'].includes(header)) throw bad(`section ${header}`);
        section = header;
      } else if (section === '' || !/^[A-Z]\w*=/.test(line)) throw bad(line);
    }
    if (!/^ExecStart=\//m.test(text)) throw bad('ExecStart= is no absolute path');
  }

  function wants(name: string): string {
    const target = /^WantedBy=(\S+)$/m.exec(onDisk(name) ?? '')?.[1];
    return target === undefined ? '' : join(state.unitFolder, `${target}.wants`, name);
  }

  function isLink(path: string): boolean {
    return path !== '' && lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
  }

  const verbs: Readonly<Record<string, (name: string) => void>> = {
    enable(name) {
      if (onDisk(name) === undefined) throw new Refused(1, `Failed to enable unit: Unit file ${name} does not exist.`);
      const link = wants(name);
      if (link === '') throw new Refused(1, `The unit files have no installation config`);
      if (isLink(link)) return;
      mkdirSync(join(link, '..'), { recursive: true });
      symlinkSync(join(state.unitFolder, name), link);
    },
    disable(name) {
      if (onDisk(name) === undefined) throw new Refused(1, `Failed to disable unit: Unit file ${name} does not exist.`);
      rmSync(wants(name), { force: true });
    },
    start(name) {
      const unit = load(name);
      if (unit === undefined) throw new Refused(5, `Failed to start ${name}: Unit ${name} not found.`);
      if (unit.active === 'active') return;
      if (state.failure !== undefined) {
        change(name, { active: 'failed' });
        throw new Refused(1, `Job for ${name} failed because the control process exited with error code.`);
      }
      change(name, { active: 'active', starts: unit.starts + 1 });
    },
    stop(name) {
      if (load(name) === undefined) throw new Refused(5, `Failed to stop ${name}: Unit ${name} not loaded.`);
      change(name, { active: 'inactive' });
    },
    'reset-failed'(name) {
      if (state.units[name] === undefined)
        throw new Refused(1, `Failed to reset failed state of unit ${name}: Unit ${name} not loaded.`);
    },
    show(name) {
      const unit = load(name);
      if (unit === undefined)
        return say(['LoadState=not-found', 'ActiveState=inactive', 'SubState=dead', 'UnitFileState='].join('\n'));
      const isActive = unit.active === 'active';
      say(
        [
          'LoadState=loaded',
          `ActiveState=${unit.active}`,
          `SubState=${isActive ? 'running' : unit.active === 'failed' ? 'failed' : 'dead'}`,
          `Result=${unit.active === 'failed' ? 'exit-code' : 'success'}`,
          `MainPID=${isActive ? 4711 : 0}`,
          `StatusText=${isActive ? '1.0.0, with a session' : ''}`,
          `ExecMainExitTimestamp=${isActive ? '' : 'Sun 2026-11-22 08:00:00 UTC'}`,
          `ExecMainStatus=${unit.active === 'failed' ? 3 : 0}`,
          `StateChangeTimestamp=Sun 2026-11-22 08:40:00 UTC`,
          'NRestarts=0',
          `FragmentPath=${unit.path}`,
          'DropInPaths=',
          `UnitFileState=${isLink(wants(name)) ? 'enabled' : 'disabled'}`,
          `NeedDaemonReload=${unit.text === onDisk(name) ? 'no' : 'yes'}`,
        ].join('\n'),
      );
    },
  };

  function systemctl(): void {
    const { options, words } = parsed(['--user', '--no-pager']);
    if (options.includes('--user') !== (state.scope === 'user'))
      throw new Refused(1, 'Failed to connect to bus: No medium found');
    const [verb = '', ...names] = words;
    if (verb === 'is-system-running') {
      say(state.running);
      if (state.running !== 'running') throw new Refused(1, '');
      return;
    }
    if (state.running !== 'running')
      throw new Refused(1, "System has not been booted with systemd as init system (PID 1). Can't operate.");
    if (verb === 'daemon-reload') {
      if (names.length > 0) throw new Refused(1, 'Too many arguments.');
      const found = Object.entries(state.units).flatMap(([name, unit]) => {
        const text = onDisk(name);
        // One that runs is known for as long as it does.
        return text === undefined && unit.active !== 'active'
          ? []
          : [[name, { ...unit, text: text ?? unit.text }] as const];
      });
      state = { ...state, units: Object.fromEntries(found) };
      return;
    }
    const order = verbs[verb];
    if (order === undefined) throw new Refused(1, `Unknown command verb ${verb}.`);
    if (names.length !== 1 || !/^[\w:.\\-]+\.service$/.test(names[0]!))
      throw new Refused(1, `Invalid unit name "${names.join(' ')}".`);
    order(names[0]!);
  }

  function journalctl(): void {
    const { options, words } = parsed([
      /^--(?:user-)?unit=[\w-]+\.service$/,
      /^--lines=\d+$/,
      '--output=cat',
      '--no-pager',
      '--quiet',
    ]);
    if (words.length > 0) throw new Refused(1, `Failed to add match '${words[0] ?? ''}': Invalid argument`);
    if (!options.some((one) => one.startsWith(state.scope === 'user' ? '--user-unit=' : '--unit='))) return;
    for (const line of state.failure ?? ['the agent is running']) say(line);
  }

  function sysusers(): void {
    const { words } = parsed([]);
    for (const file of words) {
      for (const line of readFileSync(file, 'utf8').split('\n')) {
        if (line === '' || line.startsWith('#')) continue;
        const user = /^u ([a-z_][a-z0-9_-]*) - "[^":]*" \/[^\s:]+$/.exec(line)?.[1];
        if (user === undefined) throw new Refused(1, `${file}: Unknown modifier or bad line '${line}'`);
        state = { ...state, users: [...state.users, user] };
      }
    }
  }

  function id(): void {
    const { words } = parsed(['-u']);
    if (!state.users.includes(words[0] ?? '')) throw new Refused(1, `id: '${words[0] ?? ''}': no such user`);
    say(String(state.users.indexOf(words[0]!)));
  }

  const programs: Readonly<Record<string, () => void>> = { systemctl, journalctl, 'systemd-sysusers': sysusers, id };
  let failure: Refused | undefined;
  try {
    programs[program]!();
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    failure = error;
  }
  writeFileSync(stateFile, JSON.stringify(state));
  return { code: failure?.code ?? 0, stdout, stderr: failure === undefined ? '' : `${failure.message}\n` };
}
