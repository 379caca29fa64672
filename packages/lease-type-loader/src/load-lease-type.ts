import {
  leaseTypeContract,
  leaseTypePartMark,
  messageOf,
  type AgentContribution,
  type LeaseType,
  type LeaseTypePart,
  type ServerContribution,
} from '@drover/lease-kit';
import type { DescMessage } from '@bufbuild/protobuf';
import { leaseTypeError } from './lease-type-errors.ts';
import { conditionsOf, findInstalledPackage, subpathUrl, type InstalledPackage } from './installed-package.ts';

/** Which package, and where to look for it. */
export interface LoadLeaseTypeOptions {
  /** As in the configuration, e.g. `@acme/lease-type-render-frame`. */
  readonly packageName: string;
  /** Folders whose node_modules are looked in, first to last; each with those of the folders above it. */
  readonly from: readonly string[];
}

/** A part and the package that it came from. */
export interface LoadedPart<Contribution> {
  readonly packageName: string;
  /** For log lines; absent for a part that is built into the app. */
  readonly version?: string;
  readonly part: LeaseTypePart<Contribution>;
}

/** A lease type as a submitter needs it. */
export interface LoadedLeaseType {
  readonly packageName: string;
  readonly type: LeaseType;
  /** The message to submit: the export `submission` if there is one, otherwise the payload of the lease type. */
  readonly submission: DescMessage;
}

const halves = {
  server: { subpath: './task-source', name: 'serverPart', define: 'defineServerPart' },
  agent: { subpath: './lease-handler', name: 'agentPart', define: 'defineAgentPart' },
} as const;

/** Loads what a lease type brings to a server, from its `./task-source` and nothing else of it. */
export function loadServerPart(options: LoadLeaseTypeOptions): Promise<LoadedPart<ServerContribution>> {
  return loadPart('server', options);
}

/** Loads what a lease type brings to an agent, from its `./lease-handler` and nothing else of it. */
export function loadAgentPart(options: LoadLeaseTypeOptions): Promise<LoadedPart<AgentContribution>> {
  return loadPart('agent', options);
}

/** Loads a lease type alone, from the package's `.`: its name, its rules, its messages. */
export async function loadLeaseType(options: LoadLeaseTypeOptions): Promise<LoadedLeaseType> {
  const found = findInstalledPackage(options.packageName, options.from);
  const module = await importSubpath(found, '.');
  const type = module['leaseType'];
  if (!isLeaseType(type)) throw wrongExport(found, '.', 'leaseType', 'what defineLeaseType answers', module);
  const { submission = type.payload } = module;
  if (!isMessageDescriptor(submission)) {
    throw wrongExport(found, '.', 'submission', 'the descriptor of a message', module);
  }
  return { packageName: found.name, type, submission };
}

async function loadPart<Contribution>(
  side: keyof typeof halves,
  options: LoadLeaseTypeOptions,
): Promise<LoadedPart<Contribution>> {
  const { subpath, name, define } = halves[side];
  const found = findInstalledPackage(options.packageName, options.from);
  const module = await importSubpath(found, subpath);
  const part = module[name];
  const mark = leaseTypePartMark(part);
  if (mark === undefined)
    throw wrongExport(found, subpath, name, `what ${define} of @drover/lease-kit answers`, module);
  if (mark.contract !== leaseTypeContract) {
    throw leaseTypeError(
      'LEASE_TYPE_CONTRACT_MISMATCH',
      found.name,
      `version ${found.version} was made for contract ${mark.contract} of @drover/lease-kit, and this app has ` +
        `${leaseTypeContract}: install a ${mark.contract > leaseTypeContract ? 'newer app' : 'newer version of it'}`,
    );
  }
  if (mark.side !== side) {
    throw wrongExport(found, subpath, name, `what ${define} answers, and not a part for the ${mark.side}`, module);
  }
  return { packageName: found.name, version: found.version, part: part as LeaseTypePart<Contribution> };
}

async function importSubpath(found: InstalledPackage, subpath: string): Promise<Readonly<Record<string, unknown>>> {
  const url = subpathUrl(found, subpath, conditionsOf(process.execArgv));
  try {
    return (await import(url)) as Record<string, unknown>;
  } catch (error) {
    throw leaseTypeError('LEASE_TYPE_FAILED', found.name, `"${subpath}" cannot be loaded: ${messageOf(error)}`, error);
  }
}

function wrongExport(
  found: InstalledPackage,
  subpath: string,
  name: string,
  wanted: string,
  module: Readonly<Record<string, unknown>>,
): Error {
  const names = Object.keys(module);
  const has = names.length === 0 ? 'nothing' : names.slice(0, 10).join(', ');
  const what =
    name in module ? `"${name}" of "${subpath}" must be ${wanted}` : `"${subpath}" does not export "${name}"`;
  const remark = name in module ? '' : ` (${wanted}); it exports ${has}`;
  return leaseTypeError('LEASE_TYPE_PACKAGE_INVALID', found.name, `${what}${remark}`);
}

function isLeaseType(value: unknown): value is LeaseType {
  const type = value as Partial<LeaseType> | null | undefined;
  return typeof type?.name === 'string' && isMessageDescriptor(type.payload) && isMessageDescriptor(type.output);
}

function isMessageDescriptor(value: unknown): value is DescMessage {
  return (value as Partial<DescMessage> | null | undefined)?.kind === 'message';
}
