import { mkdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { commandFailure, runCommand, type CommandResult, type RunCommand } from './run-command.ts';
import { checkServiceName, type ServiceDescription } from './service-description.ts';
import { serviceError } from './service-error.ts';
import type { InstallOptions, ServiceChange, ServiceFile, ServiceManager, ServicePlan } from './service-manager.ts';
import { serviceStatusOf, type UnitProperties } from './systemd-status.ts';
import { unitOrigin, unitText, type SystemdScope } from './systemd-unit.ts';

/** Data of {@link createSystemdServiceManager}. */
export interface SystemdOptions {
  readonly scope: SystemdScope;
  /** Who services of the machine run as; made if it does not exist. Default `drover`. */
  readonly user?: string;
  /** Where units are written. Default /etc/systemd/system, or systemd/user in XDG_CONFIG_HOME. */
  readonly unitFolder?: string;
  /** Where the user is declared (sysusers.d(5)). Default /etc/sysusers.d. */
  readonly sysusersFolder?: string;
}

/** Behaviour of {@link createSystemdServiceManager}. */
export interface SystemdDeps {
  /** Default: runs programs of this machine. */
  readonly run?: RunCommand;
  /** User id of this process; default its own. */
  readonly uid?: number;
}

/** Services under systemd: of the machine, or of the user who asks. */
export function createSystemdServiceManager(options: SystemdOptions, deps: SystemdDeps = {}): ServiceManager {
  return new SystemdServiceManager(options, deps);
}

/** States in which systemd takes orders; `offline` and `unknown` mean that it does not run. */
const bootedStates = ['initializing', 'starting', 'running', 'degraded', 'maintenance', 'stopping'];

class SystemdServiceManager implements ServiceManager {
  readonly kind = 'systemd';
  readonly #scope: SystemdScope;
  readonly #user: string;
  readonly #unitFolder: string;
  readonly #sysusersFolder: string;
  readonly #run: RunCommand;
  readonly #uid: number;

  constructor(options: SystemdOptions, deps: SystemdDeps) {
    this.#scope = options.scope;
    this.#user = options.user ?? 'drover';
    this.#unitFolder =
      options.unitFolder ?? (options.scope === 'system' ? '/etc/systemd/system' : join(configHome(), 'systemd/user'));
    this.#sysusersFolder = options.sysusersFolder ?? '/etc/sysusers.d';
    this.#run = deps.run ?? runCommand;
    this.#uid = deps.uid ?? process.getuid?.() ?? 0;
  }

  plan(service: ServiceDescription): ServicePlan {
    const unit = this.#unitFile(service);
    const systemctl = this.#systemctl().join(' ');
    const user = this.#userFile(service.name);
    return {
      files: [...(this.#scope === 'system' ? [user] : []), unit],
      commands: [
        ...(this.#scope === 'system' ? [`systemd-sysusers ${user.path}`] : []),
        ...[`${systemctl} daemon-reload`, `${systemctl} enable ${unitName(service.name)}`],
        `${systemctl} start ${unitName(service.name)}`,
      ],
    };
  }

  async install(service: ServiceDescription, options: InstallOptions, signal: AbortSignal): Promise<ServiceChange> {
    const unit = this.#unitFile(service);
    await this.#checkRights('installed');
    await this.#checkBooted(signal);
    const written = await this.#ownUnit(service.name, signal);
    if (written !== undefined && unitOrigin(written) === 'changed' && !options.force) {
      throw serviceError(
        'SERVICE_CHANGED',
        `${unit.path} was changed by hand since it was installed: put the change into a drop-in (systemctl edit ${service.name}), or write over it with --force`,
      );
    }
    const done: string[] = [];
    if (this.#scope === 'system') done.push(...(await this.#makeUser(service.name, signal)));
    const isNew = written !== unit.text;
    if (isNew) {
      await replaceFile(unit);
      done.push(`${written === undefined ? 'wrote' : 'changed'} ${unit.path}`);
    }
    const before = await this.#show(service.name, signal);
    if (isNew || before['NeedDaemonReload'] === 'yes') {
      await this.#order(['daemon-reload'], signal);
      done.push('told systemd to read its units again');
    }
    if (before['UnitFileState'] !== 'enabled') {
      await this.#order(['enable', unitName(service.name)], signal);
      done.push(
        `enabled ${unitName(service.name)}: it starts with the ${this.#scope === 'system' ? 'machine' : 'user'}`,
      );
    }
    const runs = ['active', 'activating', 'reloading'].includes(before['ActiveState'] ?? '');
    if (!runs && options.start) {
      await this.start(service.name, signal);
      done.push(`started ${unitName(service.name)}`);
    }
    return { done, restartNeeded: runs && isNew };
  }

  async uninstall(name: string, signal: AbortSignal): Promise<ServiceChange> {
    await this.#checkRights('removed');
    await this.#checkBooted(signal);
    const path = this.#unitPath(name);
    if ((await this.#ownUnit(name, signal)) === undefined) throw missing(name);
    const done: string[] = [];
    const { ActiveState: state } = await this.#show(name, signal);
    if (state !== 'inactive' && state !== 'failed') {
      await this.stop(name, signal);
      done.push(`stopped ${unitName(name)}`);
    }
    await this.#order(['disable', unitName(name)], signal);
    await rm(path);
    done.push(`disabled it and removed ${path}`);
    await this.#order(['daemon-reload'], signal);
    // A failure is remembered beyond the unit's end.
    await this.#systemd(['reset-failed', unitName(name)], signal);
    return { done, restartNeeded: false };
  }

  async status(name: string, signal: AbortSignal) {
    await this.#checkBooted(signal);
    const shown = await this.#show(name, signal);
    if (shown['LoadState'] === 'not-found') throw missing(name);
    const fragment = shown['FragmentPath'] ?? '';
    const text = await readFile(fragment, 'utf8').catch(() => '');
    return serviceStatusOf(name, shown, text, await this.#lastLines(name, signal));
  }

  async start(name: string, signal: AbortSignal): Promise<void> {
    const command = this.#systemctl('start', unitName(name));
    const result = await this.#run(command, signal);
    if (result.code === 0) return;
    if (result.code === 5) throw missing(name);
    const lines = await this.#lastLines(name, signal);
    throw serviceError(
      'SERVICE_NOT_STARTED',
      [
        `it is installed and does not start: ${commandFailure(command, result)}`,
        ...lines.map((line) => `  ${line}`),
      ].join('\n'),
    );
  }

  async stop(name: string, signal: AbortSignal): Promise<void> {
    await this.#order(['stop', unitName(name)], signal);
  }

  /** The unit that stands where we write ours; undefined if none does. Throws `SERVICE_NOT_OURS`. */
  async #ownUnit(name: string, signal: AbortSignal): Promise<string | undefined> {
    const path = this.#unitPath(name);
    const foreign = (where: string): Error =>
      serviceError(
        'SERVICE_NOT_OURS',
        `${unitName(name)} is there already, and was not installed by Drover: ${where}; allowed is another --name, or to remove it first`,
      );
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return undefined;
      throw error;
    });
    // A link leads to what another program keeps, or to nothing: the unit is masked then.
    if (text !== undefined && (unitOrigin(text) === 'foreign' || (await realpath(path)) !== (await realpathOf(path)))) {
      throw foreign(path);
    }
    const { FragmentPath: loaded = '' } = await this.#show(name, signal);
    if (text === undefined && loaded !== '' && loaded !== path) throw foreign(loaded);
    return text;
  }

  async #makeUser(name: string, signal: AbortSignal): Promise<string[]> {
    const { code } = await this.#run(['id', '-u', this.#user], signal);
    if (code === 0) return [];
    const file = this.#userFile(name);
    await replaceFile(file);
    const command = ['systemd-sysusers', file.path] as const;
    const result = await this.#run(command, signal);
    if (result.code !== 0) throw serviceError('SERVICE_COMMAND_FAILED', commandFailure(command, result));
    return [`made the user ${this.#user} (${file.path})`];
  }

  async #checkBooted(signal: AbortSignal): Promise<void> {
    const command = this.#systemctl('is-system-running');
    const { stdout, stderr } = await this.#run(command, signal);
    if (bootedStates.includes(stdout.trim())) return;
    const why = (stderr.trim() || stdout.trim() || 'it says nothing').replace(/\s+/g, ' ');
    throw serviceError(
      'SERVICE_MANAGER_MISSING',
      this.#scope === 'system'
        ? `systemd does not manage this machine (${command.join(' ')}: ${why}); allowed is another way to keep the program running`
        : `no systemd runs for this user (${command.join(' ')}: ${why}); it does after a login, or "loginctl enable-linger"`,
    );
  }

  async #checkRights(what: string): Promise<void> {
    if (this.#scope === 'user' || this.#uid === 0) return;
    throw serviceError(
      'SERVICE_DENIED',
      `a service of the machine can only be ${what} by root; allowed is sudo, or --user for a service of yours`,
    );
  }

  async #show(name: string, signal: AbortSignal): Promise<UnitProperties> {
    const { stdout } = await this.#order(['show', '--no-pager', unitName(name)], signal);
    return Object.fromEntries(
      stdout.split('\n').flatMap((line) => {
        const at = line.indexOf('=');
        return at < 0 ? [] : [[line.slice(0, at), line.slice(at + 1)]];
      }),
    );
  }

  async #lastLines(name: string, signal: AbortSignal): Promise<string[]> {
    const unit = this.#scope === 'user' ? `--user-unit=${unitName(name)}` : `--unit=${unitName(name)}`;
    const command = ['journalctl', unit, '--lines=10', '--output=cat', '--no-pager', '--quiet'] as const;
    const result = await this.#run(command, signal).catch(() => undefined);
    return result?.code === 0 ? result.stdout.split('\n').filter((line) => line !== '') : [];
  }

  async #order(args: readonly string[], signal: AbortSignal): Promise<CommandResult> {
    const command = this.#systemctl(...args);
    const result = await this.#systemd(args, signal);
    if (result.code === 0) return result;
    throw serviceError('SERVICE_COMMAND_FAILED', commandFailure(command, result));
  }

  #systemd(args: readonly string[], signal: AbortSignal): Promise<CommandResult> {
    return this.#run(this.#systemctl(...args), signal);
  }

  #systemctl(...args: readonly string[]): [string, ...string[]] {
    return ['systemctl', ...(this.#scope === 'user' ? ['--user'] : []), ...args];
  }

  #unitPath(name: string): string {
    checkServiceName(name);
    return join(this.#unitFolder, unitName(name));
  }

  #unitFile(service: ServiceDescription): ServiceFile {
    return {
      path: this.#unitPath(service.name),
      text: unitText(service, { scope: this.#scope, user: this.#user }),
    };
  }

  #userFile(name: string): ServiceFile {
    return {
      path: join(this.#sysusersFolder, `${name}.conf`),
      text: `# Installed by Drover: the user that ${unitName(name)} runs as.\nu ${this.#user} - "Drover" /var/lib/${name}\n`,
    };
  }
}

function unitName(name: string): string {
  return `${name}.service`;
}

function missing(name: string): Error {
  return serviceError('SERVICE_MISSING', `there is no service ${name}; allowed is one that was installed`);
}

/** Where the user's own units are (XDG Base Directory Specification). */
function configHome(): string {
  const given = process.env['XDG_CONFIG_HOME'];
  return given?.startsWith('/') === true ? given : join(homedir(), '.config');
}

/** The path itself, with the links of its folder followed. */
async function realpathOf(path: string): Promise<string> {
  return join(await realpath(dirname(path)), path.slice(path.lastIndexOf('/') + 1));
}

/** Written beside and renamed: systemd never reads half a unit. */
async function replaceFile({ path, text }: ServiceFile): Promise<void> {
  const next = `${path}.${process.pid}.new`;
  await mkdir(dirname(path), { recursive: true });
  try {
    await writeFile(next, text, { mode: 0o644, flush: true });
    await rename(next, path);
  } finally {
    await rm(next, { force: true });
  }
}
