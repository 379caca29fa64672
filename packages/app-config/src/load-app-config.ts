import { DroverError, messageOf } from '@drover/lease-kit';
import { distance } from 'fastest-levenshtein';
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import type { z } from 'zod';
import type { AppConfigDefinition, ConfigKey } from './app-config.ts';
import { configInvalid } from './config-error.ts';
import { tomlLines } from './toml-lines.ts';

/** Where values come from. */
export interface ConfigSources {
  /** A TOML file; absent means none. */
  readonly file?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** By the name of the key, e.g. `listen.port`; texts, lists of texts, or booleans. */
  readonly flags: Readonly<Record<string, string | readonly string[] | boolean>>;
  /** What a relative `file` is relative to. */
  readonly cwd: string;
}

/** A configuration and where each of its values came from. */
export interface LoadedConfig<Value> {
  readonly value: Value;
  /** By the name of the key: `default`, `drover.toml:3`, `DROVER_SERVER_LISTEN_PORT`, `--listen-port`. */
  readonly origins: ReadonlyMap<string, string>;
}

/**
 * Reads a configuration: file < environment < flags. Throws CONFIG_INVALID, which says for each fault where it stands, what
 * it is and what is allowed, and CONFIG_UNREADABLE for a file that cannot be read.
 */
export function loadAppConfig<Schema extends z.ZodObject>(
  definition: AppConfigDefinition<Schema>,
  sources: ConfigSources,
): LoadedConfig<z.infer<Schema>> {
  const origins = new Map<string, string>(definition.keys.map(({ name }) => [name, 'default']));
  const faults: string[] = [];
  const merged = sources.file === undefined ? {} : readFile(definition, sources.file, sources.cwd, origins, faults);
  for (const key of definition.keys) {
    const [variable, text] = variableOf(definition, key, sources.env);
    if (text !== undefined) {
      put(merged, key.path, valueOf(key, text));
      origins.set(key.name, variable);
    }
    const flag = sources.flags[key.name];
    if (flag !== undefined) {
      put(merged, key.path, typeof flag === 'string' ? valueOf(key, flag) : flag);
      origins.set(key.name, key.flag);
    }
  }
  faults.push(...unknownVariables(definition, sources.env));
  const result = definition.schema.safeParse(merged);
  if (!result.success) {
    for (const issue of result.error.issues) faults.push(...issueFaults(definition, issue, origins));
  }
  if (faults.length > 0 || !result.success) throw configInvalid([...new Set(faults)]);
  return { value: result.data, origins };
}

function variableOf(
  definition: AppConfigDefinition<z.ZodObject>,
  key: ConfigKey,
  env: ConfigSources['env'],
): [variable: string, text: string | undefined] {
  const own = env[key.variable];
  if (own !== undefined && own !== '') return [key.variable, own];
  const alias = Object.entries(definition.aliases).find(([name, target]) => target === key.name && env[name])?.[0];
  return alias === undefined ? [key.variable, undefined] : [alias, env[alias]];
}

/** What a text of the environment or the command line means; a wrong one stays text, and the schema says what is allowed. */
function valueOf(key: ConfigKey, text: string): unknown {
  switch (key.kind) {
    case 'number':
      return /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text;
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text;
    case 'list':
      return text === '' ? [] : text.split(',').map((part) => part.trim());
    case 'table':
      return jsonOrText(text);
    case 'text':
      return text;
  }
}

function jsonOrText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

function put(target: Record<string, unknown>, path: readonly string[], value: unknown): void {
  let at = target;
  for (const part of path.slice(0, -1)) {
    const next = at[part];
    at = (typeof next === 'object' && next !== null ? next : (at[part] = {})) as Record<string, unknown>;
  }
  at[path.at(-1) ?? ''] = value;
}

function readFile(
  definition: AppConfigDefinition<z.ZodObject>,
  file: string,
  cwd: string,
  origins: Map<string, string>,
  faults: string[],
): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(resolve(cwd, file), 'utf8');
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === 'ENOENT';
    throw new DroverError({
      code: 'CONFIG_UNREADABLE',
      advice: 'fix-input',
      message: `${file}: ${missing ? 'there is no such file' : messageOf(cause)}`,
      cause,
    });
  }
  let table: Record<string, unknown>;
  try {
    table = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw configInvalid([`${file}:${error.line}:${error.column}: ${error.message.split('\n')[0]}`]);
  }
  const lines = tomlLines(text);
  const known = new Set(definition.keys.map(({ name }) => name));
  const groups = new Set(
    definition.keys.flatMap(({ path }) => path.slice(0, -1).map((_, i) => path.slice(0, i + 1).join('.'))),
  );
  const visit = (value: Record<string, unknown>, path: readonly string[]): void => {
    for (const [part, inner] of Object.entries(value)) {
      const name = [...path, part].join('.');
      const place = `${file}:${lineOf(lines, name) ?? lines.get(path.join('.')) ?? 1}`;
      if (known.has(name)) origins.set(name, place);
      else if (groups.has(name) && typeof inner === 'object' && inner !== null && !Array.isArray(inner)) {
        visit(inner as Record<string, unknown>, [...path, part]);
      } else {
        faults.push(`${place}: ${name} is not known${suggestion(name, [...known])}`);
        delete value[part];
      }
    }
  };
  visit(table, []);
  return table;
}

/** Where a key stands, or the first key below it: a table may be written by its inner tables alone. */
function lineOf(lines: ReadonlyMap<string, number>, name: string): number | undefined {
  return lines.get(name) ?? [...lines].find(([key]) => key.startsWith(`${name}.`))?.[1];
}

function suggestion(name: string, known: readonly string[]): string {
  const nearest = known.map((other) => ({ other, far: distance(name, other) })).sort((a, b) => a.far - b.far)[0];
  return nearest !== undefined && nearest.far <= Math.max(2, name.length / 3) ? `; did you mean ${nearest.other}?` : '';
}

/** Variables that begin like ours and name no key: most likely a slip. */
function unknownVariables(definition: AppConfigDefinition<z.ZodObject>, env: ConfigSources['env']): string[] {
  const known = definition.keys.map(({ variable }) => variable);
  return Object.keys(env)
    .filter((name) => name.startsWith(`${definition.envPrefix}_`) && !known.includes(name))
    .map((name) => `${name} is not known${suggestion(name, known)}`);
}

function issueFaults(
  definition: AppConfigDefinition<z.ZodObject>,
  issue: z.core.$ZodIssue,
  origins: ReadonlyMap<string, string>,
): string[] {
  const path = issue.path.map(String);
  const key = definition.keys.find(({ path: own }) => own.every((part, i) => part === path[i]));
  const name = key?.name ?? path.join('.');
  const origin = origins.get(name);
  const place = origin === undefined || origin === 'default' ? definition.name : origin;
  const says = key?.meta.description === undefined ? '' : ` (${key.meta.description})`;
  return [`${place}: ${name}: ${issue.message}${says}`];
}
