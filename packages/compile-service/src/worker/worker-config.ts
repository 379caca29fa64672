import { DroverError, messageOf } from '@drover/lease-kit';
import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { workerConfigSchema, type WorkerConfig } from './worker-config-schema.ts';

/** The environment of a process. */
type Environment = Readonly<Record<string, string | undefined>>;

/** What holds where worker.toml says nothing. It is not right as it is: addresses, certificate and token have no default. */
export function defaultWorkerConfig(): WorkerConfig {
  // Only what is missing is wrong with it, and that is not looked at here.
  const { shape } = workerConfigSchema;
  const entries = Object.entries(shape).map(([name, schema]) => [name, schema.parse(undefined)]);
  return Object.fromEntries(entries) as WorkerConfig;
}

/**
 * Where worker.toml is when nobody says so: Drover's own path, `$XDG_CONFIG_HOME/drover/worker.toml`, or the reference's,
 * `$XDG_CONFIG_HOME/hpcc/worker.toml`, where only that one is. Neither needs to be there.
 */
export function defaultWorkerConfigPath(env: Environment = process.env): string {
  const base = env['XDG_CONFIG_HOME'] || join(env['HOME'] || homedir(), '.config');
  const [own, reference] = ['drover', 'hpcc'].map((name) => join(base, name, 'worker.toml')) as [string, string];
  return !existsSync(own) && existsSync(reference) ? reference : own;
}

/**
 * Reads worker.toml. Without a path the default one, where no file means the defaults, which `validateWorkerConfig` finds
 * fault with. Throws `CONFIG_UNREADABLE`, and `CONFIG_INVALID` with all that is wrong in the file, a line for each.
 */
export function loadWorkerConfig(path?: string, env: Environment = process.env): WorkerConfig {
  const file = path ?? defaultWorkerConfigPath(env);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (cause) {
    if (path === undefined && (cause as NodeJS.ErrnoException).code === 'ENOENT') return defaultWorkerConfig();
    throw new DroverError({
      code: 'CONFIG_UNREADABLE',
      advice: 'fix-input',
      message: `${file}: ${messageOf(cause)}`,
      cause,
    });
  }
  let table: Record<string, unknown>;
  try {
    table = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw invalid([`${file}:${error.line}:${error.column}: ${error.message.split('\n')[0]}`]);
  }
  const result = workerConfigSchema.safeParse(table);
  if (result.success) return result.data;
  throw invalid(result.error.issues.map(({ path: at, message }) => `${file}: ${at.join('.')}: ${message}`));
}

/** What is accepted and does nothing here: one sentence for each. */
export function workerConfigWarnings({ image, runtime }: WorkerConfig): readonly string[] {
  const windows = [
    ...(['pause_windows_amd64', 'agent_windows_amd64'] as const)
      .filter((name) => image[name] !== '')
      .map((name) => `image.${name}`),
    ...Object.entries(runtime.hcsshim)
      .filter(([, value]) => value !== '')
      .map(([name]) => `runtime.hcsshim.${name}`),
  ];
  return windows.map((name) => `${name} is for Windows and does nothing here`);
}

function invalid(faults: readonly string[]): DroverError {
  const unique = [...new Set(faults)];
  return new DroverError({ code: 'CONFIG_INVALID', advice: 'fix-input', message: unique.join('\n') });
}
