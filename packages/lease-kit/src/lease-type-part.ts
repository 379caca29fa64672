import type { Any } from '@bufbuild/protobuf/wkt';
import type { ConfigIssue, ConfigSchema } from './config-schema.ts';
import { DroverError } from './drover-error.ts';
import type { JobPlanner } from './job-planner.ts';
import type { LeaseHandler } from './lease-handler.ts';
import type { LeaseType } from './lease-type.ts';
import type { TaskSource } from './task-source.ts';

/**
 * The number of the contract between an app and a lease type's package. It grows when a part that was made with one
 * lease-kit cannot work in an app that has another.
 */
export const leaseTypeContract = 1;

// Shared by all copies of this package in a process: a lease type's package may bring its own.
const mark = Symbol.for('@drover/lease-kit/LeaseTypePart');

/** What {@link defineServerPart} and {@link defineAgentPart} put on what they make. */
export interface LeaseTypePartMark {
  readonly side: 'server' | 'agent';
  /** {@link leaseTypeContract} of the lease-kit that it was made with. */
  readonly contract: number;
}

/** What people may want of single agents, where a source makes leases of that. */
export interface AgentTaskKind {
  /** Type name of the message that says what is wanted. */
  readonly payloadType: string;
  /** Throws a DroverError with advice `fix-input` for a message that is not right. */
  check(payload: Any): void;
}

/** What a lease type brings to a server. It is disposed of, if it can be, after the server has stopped. */
export interface ServerContribution extends Partial<AsyncDisposable> {
  readonly source: TaskSource;
  /** Absent: a submitted message of the lease type is one lease, as it is, unless {@link reserved} or {@link agentTask} names it. */
  readonly planner?: JobPlanner;
  /** What may be wanted of agents under the source's name; its message cannot be submitted as a job. Absent: nothing. */
  readonly agentTask?: AgentTaskKind;
  /** Type names of further messages that only the source makes leases of: whoever submits one is refused. Default: none. */
  readonly reserved?: readonly string[];
}

/** What a lease type brings to an agent. It is disposed of, if it can be, after the agent has stopped. */
export interface AgentContribution extends Partial<AsyncDisposable> {
  readonly handler: LeaseHandler;
}

/** The half of a lease type that an app loads. `Deps` are the collaborators that it works with, by name. */
export interface LeaseTypePart<Contribution, Deps = never> {
  readonly type: LeaseType;
  /** Names of the collaborators that the app gives to `create`; it gives no others. */
  readonly needs: readonly string[];
  /**
   * Makes what it brings, once for a process. `table` is the operator's configuration for it, as it was written; absent means
   * none. Rejects with LEASE_TYPE_CONFIG_INVALID if its schema does not take that.
   */
  readonly create: (table: unknown, deps: Deps) => Promise<Contribution>;
}

/** What the package of a lease type exports from `./task-source`, by the name `serverPart`. */
export type LeaseTypeServerPart<Deps = never> = LeaseTypePart<ServerContribution, Deps>;

/** What the package of a lease type exports from `./lease-handler`, by the name `agentPart`. */
export type LeaseTypeAgentPart<Deps = never> = LeaseTypePart<AgentContribution, Deps>;

type RequiredName<Deps> = { [Name in keyof Deps]-?: object extends Pick<Deps, Name> ? never : Name }[keyof Deps] &
  string;
/** `Needs`, if it names all that `Deps` requires and nothing that it has not. */
type Fitting<Deps, Needs extends readonly string[]> = [RequiredName<Deps>] extends [Needs[number]]
  ? [Needs[number]] extends [keyof Deps]
    ? Needs
    : readonly (keyof Deps & string)[]
  : readonly [missing: Exclude<RequiredName<Deps>, Needs[number]>];

/** How a part is declared: data first, then the factory with the collaborators that it names. */
export interface LeaseTypePartOptions<Contribution, Config, Deps, Needs extends readonly string[]> {
  readonly type: LeaseType;
  /**
   * The collaborators that `create` works with, by the names under which apps offer them (docs/extending lists them). All that
   * its second parameter requires must be here.
   */
  readonly needs: Fitting<Deps, Needs>;
  /** Of the part's own configuration. Absent: it takes none, and an operator who writes one is told so. */
  readonly config?: ConfigSchema<Config>;
  readonly create: (config: Config, deps: Deps) => Contribution | Promise<Contribution>;
}

/** Declares what a lease type brings to a server. Its package exports it from `./task-source` as `serverPart`. */
export function defineServerPart<Deps extends object, const Needs extends readonly string[], Config = undefined>(
  options: LeaseTypePartOptions<ServerContribution, Config, Deps, Needs>,
): LeaseTypeServerPart<Deps> {
  return definePart('server', options);
}

/** Declares what a lease type brings to an agent. Its package exports it from `./lease-handler` as `agentPart`. */
export function defineAgentPart<Deps extends object, const Needs extends readonly string[], Config = undefined>(
  options: LeaseTypePartOptions<AgentContribution, Config, Deps, Needs>,
): LeaseTypeAgentPart<Deps> {
  return definePart('agent', options);
}

/** The mark of a value that a `define…Part` of any copy of this package made; undefined for every other value. */
export function leaseTypePartMark(value: unknown): LeaseTypePartMark | undefined {
  if (typeof value !== 'object' || value === null) return undefined;
  return (value as { readonly [mark]?: LeaseTypePartMark })[mark];
}

function definePart<Contribution, Config, Deps, Needs extends readonly string[]>(
  side: LeaseTypePartMark['side'],
  options: LeaseTypePartOptions<Contribution, Config, Deps, Needs>,
): LeaseTypePart<Contribution, Deps> {
  const { type, config, create } = options;
  const part: LeaseTypePart<Contribution, Deps> = {
    type,
    needs: options.needs,
    create: async (table, deps) => create(await readConfig(type, config, table), deps),
  };
  return Object.assign(part, { [mark]: { side, contract: leaseTypeContract } satisfies LeaseTypePartMark });
}

async function readConfig<Config>(
  type: LeaseType,
  schema: ConfigSchema<Config> | undefined,
  table: unknown,
): Promise<Config> {
  if (schema === undefined) {
    if (table !== undefined) throw configInvalid(type, [{ message: 'it takes no configuration' }]);
    // The type says so as well: without a schema Config is undefined.
    return undefined as Config;
  }
  const result = await schema['~standard'].validate(table ?? {});
  if (result.issues !== undefined) throw configInvalid(type, result.issues);
  return result.value;
}

function configInvalid(type: LeaseType, issues: readonly ConfigIssue[]): DroverError {
  const faults = issues.slice(0, 20).map(({ path = [], message }) => {
    const keys = path.map((part) => String(typeof part === 'object' ? part.key : part)).join('.');
    return keys === '' ? message : `${keys}: ${message}`;
  });
  return new DroverError({
    code: 'LEASE_TYPE_CONFIG_INVALID',
    advice: 'fix-input',
    message: `the configuration of the lease type ${type.name} is wrong: ${faults.join('; ')}`,
    details: { leaseType: type.name, faults: issues.length },
  });
}
