import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { commandFailure, runCommand, type CommandResult, type RunCommand } from './run-command.ts';
import { checkServiceName, type ServiceDescription } from './service-description.ts';
import { serviceError } from './service-error.ts';
import type { InstallOptions, ServiceChange, ServiceManager, ServicePlan, ServiceStatus } from './service-manager.ts';
import { winswCommand, winswOrigin, winswXml } from './winsw-xml.ts';

/** Data of {@link createWinswServiceManager}. */
export interface WinswOptions {
  /** Where each service has a folder, e.g. `C:\ProgramData\Drover`. */
  readonly folder: string;
  /** The program of WinSW (2.x or 3.x, github.com/winsw/winsw), which is copied beside the description; only for `install`. */
  readonly wrapper?: string;
}

/** Behaviour of {@link createWinswServiceManager}. */
export interface WinswDeps {
  /** Default: runs programs of this machine. */
  readonly run?: RunCommand;
}

/** Services of Windows, each run by a copy of WinSW that bears its name. */
export function createWinswServiceManager(options: WinswOptions, deps: WinswDeps = {}): ServiceManager {
  return new WinswServiceManager(options, deps.run ?? runCommand);
}

/** What WinSW's `status` prints, in systemd's words. */
const states: readonly (readonly [pattern: RegExp, state: string])[] = [
  [/^Started|^Active \(running\)/, 'active'],
  [/^Active \(/, 'activating'],
  [/^Stopped|^Inactive/, 'inactive'],
];

class WinswServiceManager implements ServiceManager {
  readonly kind = 'winsw';
  readonly #options: WinswOptions;
  readonly #run: RunCommand;

  constructor(options: WinswOptions, run: RunCommand) {
    this.#options = options;
    this.#run = run;
  }

  plan(service: ServiceDescription): ServicePlan {
    const { xml, program } = this.#paths(service.name);
    return {
      files: [{ path: xml, text: winswXml(service) }],
      commands: [`copy ${this.#options.wrapper ?? 'WinSW.exe'} ${program}`, `${program} install`, `${program} start`],
    };
  }

  async install(service: ServiceDescription, options: InstallOptions, signal: AbortSignal): Promise<ServiceChange> {
    const { folder, xml, program } = this.#paths(service.name);
    const text = winswXml(service);
    const written = await readIfThere(xml);
    this.#checkOrigin(service.name, xml, written, options.force);
    const done: string[] = [];
    if (written === undefined) {
      await mkdir(folder, { recursive: true });
      await this.#copyWrapper(program);
      done.push(`copied ${program}`);
    }
    if (written !== text) {
      await writeFile(xml, text, { flush: true });
      done.push(`${written === undefined ? 'wrote' : 'changed'} ${xml}`);
    }
    const before = await this.#state(program, signal);
    if (before === undefined) {
      await this.#order(program, 'install', signal);
      done.push(`installed the service ${service.name}`);
    } else if (written !== text) {
      // WinSW 3 takes over what Windows itself knows of the service; 2.x has no such command and reads the rest at a start.
      await this.#run([program, 'refresh'], signal).catch(() => undefined);
    }
    const runs = before === 'active' || before === 'activating';
    if (!runs && options.start) {
      await this.start(service.name, signal);
      done.push(`started ${service.name}`);
    }
    return { done, restartNeeded: runs && written !== text };
  }

  async uninstall(name: string, signal: AbortSignal): Promise<ServiceChange> {
    const { xml, program } = this.#paths(name);
    const written = await readIfThere(xml);
    if (written === undefined) throw missing(name);
    this.#checkOrigin(name, xml, written, true);
    const done: string[] = [];
    const state = await this.#state(program, signal);
    if (state !== undefined && state !== 'inactive') {
      await this.stop(name, signal);
      done.push(`stopped ${name}`);
    }
    if (state !== undefined) await this.#order(program, 'uninstall', signal);
    await rm(xml);
    await rm(program, { force: true });
    done.push(`removed the service, ${xml} and ${program}`);
    return { done, restartNeeded: false };
  }

  async status(name: string, signal: AbortSignal): Promise<ServiceStatus> {
    const { xml, program, log } = this.#paths(name);
    const text = await readIfThere(xml);
    const state = text === undefined ? undefined : await this.#state(program, signal);
    if (text === undefined || state === undefined) throw missing(name);
    const said = (await readIfThere(log)) ?? '';
    return {
      name,
      state,
      detail: '',
      enabled: true,
      ours: winswOrigin(text) !== 'foreign',
      files: [xml],
      command: winswCommand(text),
      environment: {},
      lines: said.trimEnd().split('\n').slice(-10),
    };
  }

  async start(name: string, signal: AbortSignal): Promise<void> {
    const { program } = this.#paths(name);
    const result = await this.#run([program, 'start'], signal);
    if (result.code === 0) return;
    throw serviceError(
      'SERVICE_NOT_STARTED',
      `it is installed and does not start: ${commandFailure([program, 'start'], result)}`,
    );
  }

  async stop(name: string, signal: AbortSignal): Promise<void> {
    const { program } = this.#paths(name);
    // The stop of 3.x waits for the end, and that of 2.x is called so.
    const { code } = await this.#run([program, 'stopwait'], signal);
    if (code !== 0) await this.#order(program, 'stop', signal);
  }

  #paths(name: string) {
    checkServiceName(name);
    const folder = join(this.#options.folder, name);
    return {
      folder,
      xml: join(folder, `${name}.xml`),
      program: join(folder, `${name}.exe`),
      log: join(folder, `${name}.err.log`),
    };
  }

  #checkOrigin(name: string, path: string, text: string | undefined, force: boolean): void {
    if (text === undefined) return;
    const origin = winswOrigin(text);
    if (origin === 'foreign') {
      throw serviceError(
        'SERVICE_NOT_OURS',
        `${path} was not written by Drover: allowed is another --name than ${name}`,
      );
    }
    if (origin === 'changed' && !force) {
      throw serviceError(
        'SERVICE_CHANGED',
        `${path} was changed by hand since it was installed: --force writes over it`,
      );
    }
  }

  async #copyWrapper(program: string): Promise<void> {
    const { wrapper } = this.#options;
    if (wrapper === undefined) {
      throw serviceError(
        'SERVICE_MANAGER_MISSING',
        'Windows runs no program as a service by itself: fetch WinSW (github.com/winsw/winsw, 2.12 or 3) and give --wrapper WinSW-x64.exe',
      );
    }
    await copyFile(wrapper, program).catch((error: unknown) => {
      throw serviceError('SERVICE_INVALID', `--wrapper is ${wrapper}, which cannot be copied to ${program}`, error);
    });
  }

  /** Undefined for a service that Windows does not know. */
  async #state(program: string, signal: AbortSignal): Promise<string | undefined> {
    const { stdout } = await this.#run([program, 'status'], signal);
    const said = stdout.trim();
    return states.find(([pattern]) => pattern.test(said))?.[1];
  }

  async #order(program: string, verb: string, signal: AbortSignal): Promise<CommandResult> {
    const result = await this.#run([program, verb], signal);
    if (result.code === 0) return result;
    const code = /denied|administrator/i.test(`${result.stdout}${result.stderr}`)
      ? 'SERVICE_DENIED'
      : 'SERVICE_COMMAND_FAILED';
    throw serviceError(code, commandFailure([program, verb], result));
  }
}

function missing(name: string): Error {
  return serviceError('SERVICE_MISSING', `there is no service ${name}; allowed is one that was installed`);
}

async function readIfThere(path: string): Promise<string | undefined> {
  return readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
}
