import { exitCodes, loadAppConfig } from '@drover/app-config';
import { DroverError } from '@drover/lease-kit';
import {
  createSystemdServiceManager,
  createWinswServiceManager,
  type ServiceManager,
  type ServicePlan,
} from '@drover/machine-service';
import { Option, type Command } from 'commander';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { agentConfig } from '../agent-config.ts';
import {
  agentService,
  configFolder,
  findSupervisor,
  givenFlags,
  serviceStateFolder,
  windowsFolder,
  type AgentService,
  type ServiceScope,
} from './agent-service.ts';
import { makeServiceFolders } from './make-service-folders.ts';
import { keptLines, nextLines, statusLines } from './service-text.ts';
import { firstVersionOf } from './supervised-entry.ts';

interface ServiceOptions {
  readonly name: string;
  readonly user?: boolean;
  readonly json?: boolean;
  readonly manager: 'systemd' | 'winsw';
}

interface InstallCommandOptions extends ServiceOptions {
  readonly runAs: string;
  readonly supervised?: boolean;
  readonly home?: string;
  readonly supervisor?: string;
  readonly wrapper?: string;
  readonly force?: boolean;
  readonly start: boolean;
  readonly dryRun?: boolean;
}

/**
 * `drover agent service install`, `uninstall` and `status`: the agent of this machine as a service of systemd or Windows.
 * The flags of the agent itself, `--config` above all, become those of the service.
 */
export function addServiceCommands(agent: Command): void {
  const say = (text: string): void => void process.stdout.write(`${text}\n`);
  const service = agent
    .command('service')
    .description('the agent as a service of this machine: install it, remove it, look at it');
  const inner = (name: string): Command =>
    service
      .command(name)
      .option('--name <name>', 'of the service', 'drover-agent')
      .option('--user', 'a service of yours, which runs while you are logged in, instead of one of the machine')
      .option('--json', 'print one JSON document for programs')
      .addOption(
        new Option('--manager <manager>', 'what manages services here')
          .choices(['systemd', 'winsw'])
          .default(process.platform === 'win32' ? 'winsw' : 'systemd', 'the platform’s'),
      );

  inner('install')
    .description('install the agent, have it started with the machine, and start it; again: change what has changed')
    .addHelpText(
      'after',
      '\nFlags of the agent, such as --config FILE or --server-urls URL, become those of the service. Absent --config means\n' +
        '/etc/drover/agent.toml, if it is there. What the service is not to show stands in FOLDER OF THAT FILE/NAME.env.',
    )
    .option('--run-as <user>', 'whom it runs as; made if there is no such user', 'drover')
    .option('--supervised', 'let drover-supervisor run the agent, so that the fleet can upgrade it')
    .option('--home <folder>', 'with --supervised: its folder; default supervisor in the state folder of the service')
    .option('--supervisor <file>', 'with --supervised: its program; default the one beside this app, or on PATH')
    .option('--wrapper <file>', 'on Windows: the program of WinSW, which runs the service')
    .option('--no-start', 'do not start it now')
    .option('--force', 'write over what was changed by hand')
    .option('--dry-run', 'print what would be written and run, and do nothing')
    .action((options: InstallCommandOptions) => withStop((signal) => install(agent, options, say, signal)));

  inner('uninstall')
    .description('stop the service, which lets work end first, and remove it; what it has kept stays')
    .action((options: ServiceOptions) =>
      withStop(async (signal) => {
        const manager = managerOf(options);
        const before = await manager.status(options.name, signal);
        if (before.pid !== undefined && options.json !== true) {
          say(`stopping ${options.name}: what runs may end first; Ctrl-C leaves it stopping`);
        }
        const { done } = await manager.uninstall(options.name, signal);
        const kept = keptLines(before, scopeOf(options));
        if (options.json === true) say(JSON.stringify({ name: options.name, done, kept }));
        else say([...done, ...kept].join('\n'));
      }),
    );

  inner('status')
    .description('how the service is; exit code 0 if it runs, 4 if not, 8 if there is none')
    .action((options: ServiceOptions) =>
      withStop(async (signal) => {
        const status = await managerOf(options).status(options.name, signal);
        if (status.state !== 'active') process.exitCode = exitCodes.unavailable;
        if (options.json === true) say(JSON.stringify(status));
        else say(statusLines(status).join('\n'));
      }),
    );
}

async function install(
  agent: Command,
  options: InstallCommandOptions,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  checkRunAs(options.runAs);
  const manager = managerOf(options);
  const service = await describe(agent, options);
  const { name } = options;
  if (options.dryRun === true) {
    const plan = manager.plan(service.description);
    if (options.json === true) say(JSON.stringify(plan));
    else say(planLines(plan).join('\n'));
    return;
  }
  const { done, restartNeeded } = await manager.install(
    service.description,
    { force: options.force === true, start: false },
    signal,
  );
  const steps = [...done];
  if (manager.kind === 'systemd') {
    const owner = options.user === true ? undefined : options.runAs;
    steps.push(...(await makeServiceFolders(service.folders, owner, signal)));
  }
  if (options.start && (await manager.status(name, signal)).state !== 'active') {
    await manager.start(name, signal);
    steps.push(`started ${name}`);
  }
  const next = nextLines(service, { scope: scopeOf(options), restartNeeded });
  if (options.json === true) say(JSON.stringify({ name, done: steps, restartNeeded, next }));
  else {
    const said = steps.length === 0 ? [`${name} is installed already; nothing has changed`] : steps;
    say([...said, ...next].join('\n'));
  }
}

async function describe(agent: Command, options: InstallCommandOptions): Promise<AgentService> {
  const scope = scopeOf(options);
  const given = agent.opts<Readonly<Record<string, unknown>>>();
  const usual = join(configFolder(scope), 'agent.toml');
  const named = typeof given['config'] === 'string' ? resolve(given['config']) : undefined;
  const configFile = named ?? (existsSync(usual) ? usual : undefined);
  const flags: Record<string, string | readonly string[] | boolean> = {};
  const ownFlags = givenFlags(agentConfig, given);
  for (const { name: key, flag } of agentConfig.keys) {
    const value = given[flag.slice(2).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())];
    if (value !== undefined) flags[key] = value as string | readonly string[] | boolean;
  }
  // What stands in the environment of who installs it is not there when the machine starts it.
  const config = loadAppConfig(agentConfig, {
    env: {},
    cwd: process.cwd(),
    flags,
    ...(configFile === undefined ? {} : { file: configFile }),
  });
  const isOfDrover = agent.parent !== null;
  const home = resolve(options.home ?? join(serviceStateFolder(options.name, scope), 'supervisor'));
  return agentService({
    name: options.name,
    scope,
    agent: [process.execPath, ...process.execArgv, resolve(process.argv[1]!), ...(isOfDrover ? ['agent'] : [])],
    flags: [...(configFile === undefined ? [] : ['--config', configFile]), ...ownFlags],
    config,
    configFile,
    ...(options.supervised === true
      ? { supervisor: { program: findSupervisor(options.supervisor), home, entry: await firstVersionOf(home) } }
      : {}),
  });
}

function scopeOf({ manager, user }: ServiceOptions): ServiceScope {
  if (manager === 'winsw') return 'windows';
  return user === true ? 'user' : 'system';
}

function managerOf({ manager, user, ...options }: ServiceOptions & Partial<InstallCommandOptions>): ServiceManager {
  if (manager === 'winsw') {
    const { wrapper } = options;
    return createWinswServiceManager({ folder: windowsFolder(), ...(wrapper === undefined ? {} : { wrapper }) });
  }
  return createSystemdServiceManager({
    scope: user === true ? 'user' : 'system',
    ...(options.runAs === undefined ? {} : { user: options.runAs }),
  });
}

function checkRunAs(user: string): void {
  if (/^[a-z_][a-z0-9_-]{0,30}$/.test(user) && user !== 'root') return;
  throw new DroverError({
    code: 'SERVICE_USER_INVALID',
    advice: 'fix-input',
    message: `--run-as is ${JSON.stringify(user)}; allowed is a user other than root, for whoever may submit jobs would be root`,
  });
}

function planLines({ files, commands }: ServicePlan): string[] {
  return [
    ...files.flatMap(({ path, text }) => [`# ${path}`, text.trimEnd(), '']),
    '# Then:',
    ...commands.map((command) => `#   ${command}`),
  ];
}

/** Runs a command until it is done or somebody presses Ctrl-C. */
async function withStop(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
  const stop = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => {
    process.exitCode = signal === 'SIGTERM' ? exitCodes.terminated : exitCodes.interrupted;
    stop.abort(new DroverError({ code: 'CANCELLED', advice: 'cancelled', message: `ended by ${signal}` }));
  };
  process.once('SIGINT', onSignal);
  process.once('SIGTERM', onSignal);
  try {
    await work(stop.signal);
  } finally {
    process.off('SIGINT', onSignal);
    process.off('SIGTERM', onSignal);
  }
}
