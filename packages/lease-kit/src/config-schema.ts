/** What a {@link ConfigSchema} says of a value. */
export type ConfigResult<Config> =
  { readonly value: Config; readonly issues?: undefined } | { readonly issues: readonly ConfigIssue[] };

/** One thing that is wrong with a value. */
export interface ConfigIssue {
  readonly message: string;
  /** Where; absent means the value itself. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/**
 * Says what a lease type's own configuration may be. It is Standard Schema, version 1 (standardschema.dev), so a schema of
 * zod, valibot or arktype is one as it stands.
 */
export interface ConfigSchema<Config = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => ConfigResult<Config> | Promise<ConfigResult<Config>>;
    readonly types?: { readonly input: unknown; readonly output: Config } | undefined;
  };
}
