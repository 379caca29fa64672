import { exitCodes, type AppConfigDefinition, type LoadedConfig } from '@drover/app-config';
import { DroverError } from '@drover/lease-kit';
import type { ServiceDescription } from '@drover/machine-service';
import { existsSync, realpathSync } from 'node:fs';
import { homedir } from 'node:os';
import { basename, delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import type { AgentConfig } from '../agent-config.ts';
import { version } from '../version.ts';

/** A service of the machine, of the user who installs it, or of Windows. */
export type ServiceScope = 'system' | 'user' | 'windows';

/** An agent as a service. */
export interface AgentServiceOptions {
  readonly name: string;
  readonly scope: ServiceScope;
  /** Program and first arguments that run an agent, e.g. Node and a script. */
  readonly agent: readonly string[];
  /** What the agent is told by flags, with `--config`. */
  readonly flags: readonly string[];
  /** As those flags and the file behind `--config` make it. */
  readonly config: LoadedConfig<AgentConfig>;
  /** Absolute path of that file. */
  readonly configFile: string | undefined;
  /** Absent: the agent runs by itself, and takes no upgrades. */
  readonly supervisor?: { readonly program: string; readonly home: string; readonly entry: string };
}

/** An agent's service, and the folders that it needs and nobody else makes. */
export interface AgentService {
  readonly description: ServiceDescription;
  readonly stateFolder: string;
  readonly logFolder: string | undefined;
  /** Folders that are made if they are missing, and given to its user: those of the configuration, and the supervisor's. */
  readonly folders: readonly string[];
  /** How long a stop lets work go on. */
  readonly graceMs: number;
  /** It takes work from a server that nobody has named: one on this machine. */
  readonly callsThisMachine: boolean;
  /** What a firewall has to let in. */
  readonly ports: readonly { readonly protocol: 'TCP' | 'UDP'; readonly port: number }[];
}

/** A machine that is shut down does not wait for a day, as an agent does that a person stops; unless told so. */
const serviceGraceMs = 900_000;
/** For work that is cancelled then, and what the server is told of it. */
const afterGraceMs = 120_000;
const keyPrefix = 'DROVER_AGENT';

/** Describes the service of an agent. */
export function agentService(options: AgentServiceOptions): AgentService {
  const { name, scope, config, supervisor, configFile } = options;
  const { value, origins } = config;
  const isDefault = (key: string): boolean => origins.get(key) === 'default';
  const stateFolder = serviceStateFolder(name, scope);
  const logFolder = scope === 'system' ? `/var/log/${name}` : undefined;
  const envFile = join(configFile === undefined ? configFolder(scope) : dirname(configFile), `${name}.env`);
  const graceMs = isDefault('stop.grace') ? serviceGraceMs : value.stop.grace;
  // What is relative is so to the working directory that the manager gives the service.
  const at = (path: string): string => resolve(scope === 'user' ? homedir() : stateFolder, path);
  const written = [
    ...(isDefault('state.dir') ? [] : [value.state.dir]),
    ...(value.workspaces.root === undefined ? [] : [value.workspaces.root]),
    ...value.cleanup.folders,
    ...(value.log.file === undefined ? [] : [dirname(value.log.file)]),
    ...(supervisor === undefined ? [] : [supervisor.home]),
  ].map(at);
  const isOwn = (path: string): boolean =>
    [stateFolder, logFolder].some((own) => own !== undefined && `${path}/`.startsWith(`${own}/`));
  const outside = [...new Set(written.filter((path) => !isOwn(path)))];
  const command = commandOf(options);
  const read = [...command.filter(isAbsolute), value.facts.file, value.agent.boot_id_file, ...tlsFiles(value)];
  return {
    stateFolder,
    logFolder,
    // Root has put the first version there, wherever it is.
    folders: [...new Set([...outside, ...(supervisor === undefined ? [] : [supervisor.home])])],
    graceMs,
    callsThisMachine: value.server.urls === undefined && !value.herd.enabled,
    ports: portsOf(value),
    description: {
      name,
      title: 'Drover agent',
      version,
      command,
      environment: {
        ...(isDefault('state.dir') ? { [`${keyPrefix}_STATE_DIR`]: join(stateFolder, 'agent') } : {}),
        ...(isDefault('stop.grace') ? { [`${keyPrefix}_STOP_GRACE`]: `${serviceGraceMs / 60_000}min` } : {}),
      },
      ...(scope === 'windows' ? {} : { environmentFile: envFile }),
      writableFolders: outside,
      readsHomes: [...read, configFile, ...outside].some((path) => path !== undefined && isInHome(path)),
      stopWithinMs: graceMs + afterGraceMs,
      // The supervisor hands no SIGHUP on.
      reloads: supervisor === undefined,
      finalExitCodes: [exitCodes.usage, exitCodes.input, exitCodes.denied, exitCodes.fenced, exitCodes.notFound],
      cleanExitCodes: [exitCodes.interrupted, exitCodes.terminated],
    },
  };
}

/** Where the configuration of services is looked for. */
export function configFolder(scope: ServiceScope): string {
  if (scope === 'windows') return windowsFolder();
  return scope === 'system' ? '/etc/drover' : join(xdgFolder('XDG_CONFIG_HOME', '.config'), 'drover');
}

/** Where a service keeps its state. */
export function serviceStateFolder(name: string, scope: ServiceScope): string {
  if (scope === 'windows') return join(windowsFolder(), name);
  return scope === 'system' ? `/var/lib/${name}` : join(xdgFolder('XDG_STATE_HOME', '.local/state'), name);
}

/** Where services of Windows have their folders. */
export function windowsFolder(): string {
  return join(process.env['ProgramData'] ?? 'C:\\ProgramData', 'Drover');
}

function xdgFolder(variable: string, below: string): string {
  const given = process.env[variable];
  return given !== undefined && isAbsolute(given) ? given : join(homedir(), below);
}

function commandOf({ agent, flags, supervisor }: AgentServiceOptions): readonly [string, ...string[]] {
  if (supervisor === undefined) return [...agent, ...flags] as [string, ...string[]];
  // A bundle's entry is started like `drover`, unless it is the agent's own program.
  const word = basename(supervisor.entry).startsWith('drover-agent') ? [] : ['agent'];
  return [supervisor.program, '--home', supervisor.home, '--', ...word, ...flags];
}

function portsOf({ herd: { enabled, port, discovery } }: AgentConfig): AgentService['ports'] {
  if (!enabled || port === 0) return [];
  return [{ protocol: 'TCP', port }, ...(discovery ? [{ protocol: 'UDP' as const, port }] : [])];
}

function tlsFiles({ server, health }: AgentConfig): (string | undefined)[] {
  return [server.tls_ca, server.tls_cert, server.tls_key, health.tls_cert, health.tls_key];
}

function isInHome(path: string): boolean {
  const real = existsSync(path) ? realpathSync(path) : path;
  return ['/home/', '/root/', '/run/user/'].some((home) => real.startsWith(home));
}

/** The flags that were given to a command, as another command line gives them again. Throws `FLAG_SECRET`. */
export function givenFlags(
  { keys }: Pick<AppConfigDefinition<never>, 'keys'>,
  given: Readonly<Record<string, unknown>>,
): string[] {
  return keys.flatMap(({ flag, variable, meta }) => {
    const value = given[attributeOf(flag)];
    if (value === undefined) return [];
    if (meta.secret === true) {
      throw new DroverError({
        code: 'FLAG_SECRET',
        advice: 'fix-input',
        message: `${flag} is a secret, and everybody can read the file of a service: put ${variable}=… into its environment file instead`,
      });
    }
    return (Array.isArray(value) ? (value as unknown[]) : [value]).map((one) => `${flag}=${String(one)}`);
  });
}

/** As commander names the value of a flag. */
function attributeOf(flag: string): string {
  return flag.slice(2).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
}

/**
 * The supervisor's program: as given, beside the folder of this app, or on PATH. Throws `SUPERVISOR_MISSING`.
 */
export function findSupervisor(given: string | undefined): string {
  const name = 'drover-supervisor';
  const beside = resolve(dirname(process.execPath), '../..', name, 'bin', name);
  const onPath = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, name));
  const found = (given === undefined ? [beside, ...onPath] : [resolve(given)]).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw new DroverError({
    code: 'SUPERVISOR_MISSING',
    advice: 'fix-input',
    message:
      given === undefined
        ? `there is no ${name} beside this app, nor on PATH: say where it is with --supervisor FILE`
        : `--supervisor is ${given}, and there is no such file`,
  });
}
