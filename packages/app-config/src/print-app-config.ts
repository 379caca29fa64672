import { stringify } from 'smol-toml';
import type { z } from 'zod';
import type { AppConfigDefinition, ConfigKey } from './app-config.ts';
import { quantityText } from './config-quantities.ts';
import type { LoadedConfig } from './load-app-config.ts';

/** A configuration as a TOML file, each key with its meaning and where its value came from. Secrets are left out. */
export function printAppConfig<Schema extends z.ZodObject>(
  definition: AppConfigDefinition<Schema>,
  loaded: LoadedConfig<z.infer<Schema>>,
): string {
  const lines: string[] = [];
  let table: string | undefined;
  for (const key of definition.keys) {
    const group = key.path.slice(0, -1).join('.');
    if (group !== table) {
      table = group;
      if (group !== '') lines.push('', `[${group}]`);
    }
    if (key.meta.description !== undefined) lines.push(`# ${key.meta.description}`);
    const value = valueAt(loaded.value, key.path);
    const last = key.path.at(-1) ?? '';
    const origin = loaded.origins.get(key.name) ?? 'default';
    if (value === undefined) lines.push(`# ${last} =`);
    else if (key.meta.secret) lines.push(`# ${last} = (secret, from ${origin})`);
    // What is in a table is known to somebody else, who may keep secrets in it.
    else if (key.kind === 'table') lines.push(`# ${last} = (${namesIn(value)}, from ${origin})`);
    else lines.push(`${stringify({ [last]: written(key, value) }).trim()} # ${origin}`);
  }
  return `${lines.join('\n').trim()}\n`;
}

function namesIn(table: unknown): string {
  if (Array.isArray(table)) return table.length === 0 ? 'nothing' : `${table.length} tables`;
  const names = Object.keys(table as object);
  return names.length === 0 ? 'nothing' : `of ${names.join(', ')}`;
}

function valueAt(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, part) => (at as Record<string, unknown> | undefined)?.[part], value);
}

function written(key: ConfigKey, value: unknown): unknown {
  return key.meta.quantity !== undefined && typeof value === 'number' ? quantityText(key.meta.quantity, value) : value;
}
