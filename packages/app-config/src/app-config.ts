import type { z } from 'zod';

/** Metadata that the schema helpers put on a key. */
export interface KeyMeta {
  readonly secret?: boolean;
  readonly quantity?: 'duration' | 'size';
  readonly description?: string;
}

/** How a key's text in the environment or on the command line is read; a table is written as JSON there. */
export type KeyKind = 'text' | 'number' | 'boolean' | 'list' | 'table';

/** One key of a configuration. */
export interface ConfigKey {
  /** As in the file, e.g. `['listen', 'port']`. */
  readonly path: readonly string[];
  /** `listen.port`. */
  readonly name: string;
  /** `--listen-port`. */
  readonly flag: string;
  /** `DROVER_SERVER_LISTEN_PORT`. */
  readonly variable: string;
  readonly kind: KeyKind;
  readonly meta: KeyMeta;
  /** The default as it would be written; undefined for none. */
  readonly defaultValue: unknown;
}

/** The configuration of one app: one schema for its file, its environment and its flags. */
export interface AppConfigDefinition<Schema extends z.ZodObject> {
  /** Of the program, for messages. */
  readonly name: string;
  /** In front of every variable, e.g. `DROVER_SERVER`. */
  readonly envPrefix: string;
  /** Objects of keys, or keys; objects have `.prefault({})`. */
  readonly schema: Schema;
  /** Every key, in the order of the schema. */
  readonly keys: readonly ConfigKey[];
  /** Variables of other names that set a key too, e.g. `DATABASE_URL` → `postgres.url`. Their own variable goes first. */
  readonly aliases: Readonly<Record<string, string>>;
}

/** Declares the configuration of an app. */
export function defineAppConfig<Schema extends z.ZodObject>(options: {
  readonly name: string;
  readonly envPrefix: string;
  readonly schema: Schema;
  readonly aliases?: Readonly<Record<string, string>>;
}): AppConfigDefinition<Schema> {
  const { name, envPrefix, schema, aliases = {} } = options;
  return { name, envPrefix, schema, aliases, keys: keysOf(schema, [], envPrefix) };
}

interface Unwrapped {
  readonly schema: z.core.$ZodType;
  readonly meta: KeyMeta;
  readonly defaultValue: unknown;
}

/** The schema below optional, default and prefault, with the metadata that was found on the way. */
function unwrap(schema: z.core.$ZodType): Unwrapped {
  let inner = schema;
  let meta: KeyMeta = {};
  let defaultValue: unknown;
  for (;;) {
    meta = { ...((inner as z.ZodType).meta?.() as KeyMeta | undefined), ...meta };
    const def = inner._zod.def as {
      type: string;
      innerType?: z.core.$ZodType;
      in?: z.core.$ZodType;
      defaultValue?: unknown;
    };
    if (def.type === 'default' || def.type === 'prefault') defaultValue ??= def.defaultValue;
    const next = def.type === 'pipe' ? def.in : def.innerType;
    if (next === undefined) return { schema: inner, meta, defaultValue };
    inner = next;
  }
}

function keysOf(schema: z.core.$ZodType, path: readonly string[], envPrefix: string): ConfigKey[] {
  const { shape } = schema._zod.def as unknown as { shape: Record<string, z.core.$ZodType> };
  return Object.entries(shape).flatMap(([part, value]) => {
    const { schema: inner, meta, defaultValue } = unwrap(value);
    const here = [...path, part];
    if (inner._zod.def.type === 'object') return keysOf(inner, here, envPrefix);
    const words = here.flatMap((name) => name.split('_'));
    return {
      path: here,
      name: here.join('.'),
      flag: `--${words.join('-')}`,
      variable: `${envPrefix}_${words.join('_').toUpperCase()}`,
      kind: kindOf(inner),
      meta,
      defaultValue,
    };
  });
}

function kindOf(schema: z.core.$ZodType): KeyKind {
  const { type } = schema._zod.def;
  if (type === 'number' || type === 'int') return 'number';
  if (type === 'boolean') return 'boolean';
  if (type === 'record' || (type === 'array' && !isOfTexts(schema))) return 'table';
  return type === 'array' ? 'list' : 'text';
}

/** A list of tables cannot be written with commas. */
function isOfTexts(schema: z.core.$ZodType): boolean {
  const { element } = schema._zod.def as unknown as { element: z.core.$ZodType };
  return !['object', 'record', 'union'].includes(unwrap(element).schema._zod.def.type);
}
