import { Option, type Command } from 'commander';
import type { z } from 'zod';
import type { AppConfigDefinition, ConfigKey, KeyKind } from './app-config.ts';
import { quantityText } from './config-quantities.ts';
import { loadAppConfig, type LoadedConfig } from './load-app-config.ts';
import { printAppConfig } from './print-app-config.ts';

/** What a command line with configuration flags asks for. */
export type ConfigRequest<Value> =
  /** Run with this. */
  | { readonly kind: 'run'; readonly config: LoadedConfig<Value> }
  /** `--print-config` or `--check-config`: print this and end. */
  | { readonly kind: 'print'; readonly text: string };

/** Adds `--config`, `--print-config`, `--check-config` and one flag for every key to a command. */
export function addConfigOptions<Schema extends z.ZodObject>(
  command: Command,
  definition: AppConfigDefinition<Schema>,
): Command {
  command.option('-c, --config <file>', 'a TOML file with these keys');
  command.option('--print-config', 'print the configuration with the origin of each value, and end');
  command.option('--check-config', 'say whether the configuration is right, and end');
  for (const key of definition.keys) command.addOption(optionOf(key));
  return command;
}

/** What a flag takes; a boolean without anything behind it is true. */
const argumentOf: Readonly<Record<KeyKind, string>> = {
  text: '<value>',
  number: '<value>',
  boolean: '[boolean]',
  list: '<value...>',
  table: '<json>',
};

function optionOf(key: ConfigKey): Option {
  const written =
    key.meta.quantity !== undefined && typeof key.defaultValue === 'number'
      ? quantityText(key.meta.quantity, key.defaultValue)
      : key.defaultValue;
  const shown = written === undefined || isEmpty(written) ? '' : ` (default ${String(written)})`;
  return new Option(
    `${key.flag} ${argumentOf[key.kind]}`,
    `${key.meta.description ?? key.name}${shown} [${key.variable}]`,
  );
}

function isEmpty(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length === 0;
}

/** Reads the configuration of a command whose options {@link addConfigOptions} made. Throws what `loadAppConfig` does. */
export function configFromCommand<Schema extends z.ZodObject>(
  definition: AppConfigDefinition<Schema>,
  command: Command,
  sources: {
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly cwd: string;
    /** Read where no file is named; absent: none. */
    readonly defaultFile?: string | undefined;
  },
): ConfigRequest<z.infer<Schema>> {
  const given = command.opts<Record<string, string | string[] | boolean | undefined>>();
  const flags: Record<string, string | readonly string[] | boolean> = {};
  for (const key of definition.keys) {
    const value = given[optionOf(key).attributeName()];
    if (value !== undefined) flags[key.name] = value;
  }
  const file = given['config'] ?? (sources.env[`${definition.envPrefix}_CONFIG`] || sources.defaultFile);
  const config = loadAppConfig(definition, {
    env: withoutConfigVariable(definition.envPrefix, sources.env),
    cwd: sources.cwd,
    flags,
    ...(typeof file === 'string' && file !== '' ? { file } : {}),
  });
  if (given['printConfig'] === true) return { kind: 'print', text: printAppConfig(definition, config) };
  if (given['checkConfig'] === true) return { kind: 'print', text: `${definition.name}: the configuration is right\n` };
  return { kind: 'run', config };
}

function withoutConfigVariable(
  prefix: string,
  env: Readonly<Record<string, string | undefined>>,
): Readonly<Record<string, string | undefined>> {
  const { [`${prefix}_CONFIG`]: _, ...rest } = env;
  return rest;
}
