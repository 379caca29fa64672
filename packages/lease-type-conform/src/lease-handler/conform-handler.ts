import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import {
  DroverError,
  isDroverError,
  messageOf,
  type AttemptLog,
  type HandlerResult,
  type LeaseContext,
  type LeaseHandler,
  type StopReason,
} from '@drover/lease-kit';
import {
  listWorkspaceFolders,
  removeWorkspaceFolder,
  type WorkspaceSyncProvider,
  type WorkspaceSyncRequest,
} from '@drover/workspaces';
import { conformLeaseType } from '../conform-lease-type.ts';
import {
  ConformResultSchema,
  WorkspaceRemoval,
  WorkspaceReportSchema,
  type Conform,
  type ConformSchema,
  type Workspace,
  type WorkspaceReport,
} from '../gen/drover/conform/v1/conform_pb.ts';
import { reportText } from './report-text.ts';

/** Data of {@link createConformHandler}. */
export interface ConformHandlerOptions {
  /** The folder of all workspaces of this machine: an absolute path. */
  readonly root: string;
}

/** What the handler of conforms works with. */
export interface ConformHandlerDeps {
  /** One of each kind. */
  readonly providers: readonly WorkspaceSyncProvider[];
}

type Result = HandlerResult<typeof ConformResultSchema>;

const workspacesMax = 32;
const failuresShown = 3;

/**
 * Syncs the workspaces of this machine one after the other. One that fails keeps none of the others from being synced; the
 * lease fails then, with CONFORM_INCOMPLETE and what was done. A process of the agent that finds an attempt of an earlier one
 * syncs everything again: what was brought is not brought twice.
 */
export function createConformHandler(
  options: ConformHandlerOptions,
  deps: ConformHandlerDeps,
): LeaseHandler<typeof ConformSchema, typeof ConformResultSchema> {
  // Attempts take turns: two in one folder would be in each other's way.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = async (conform: Conform, context: LeaseContext): Promise<Result> => {
    const before = last;
    const { promise, resolve } = Promise.withResolvers<void>();
    last = promise;
    try {
      await before;
      return await conformAll(conform, context, options, deps);
    } finally {
      resolve();
    }
  };
  return {
    type: conformLeaseType,
    refusal: ({ workspaces }) =>
      workspaces.length <= workspacesMax
        ? undefined
        : { code: 'CONFORM_INVALID', message: `${workspaces.length} workspaces; allowed: at most ${workspacesMax}` },
    run: inTurn,
    resume: inTurn,
  };
}

async function conformAll(
  conform: Conform,
  context: LeaseContext,
  { root }: ConformHandlerOptions,
  { providers }: ConformHandlerDeps,
): Promise<Result> {
  const { workspaces, setDigest } = conform;
  const log = context.log('conform');
  const reports: WorkspaceReport[] = [];
  const removedFolders: string[] = [];
  const output = () => create(ConformResultSchema, { setDigest, workspaces: reports, removedFolders });
  try {
    for (const [index, workspace] of workspaces.entries()) {
      if (context.signal.aborted) return stopped(context, output());
      const progress = (percent: number, message: string): void =>
        context.progress((100 * (index + percent / 100)) / workspaces.length, `${workspace.name}: ${message}`);
      const report = await conformOne(workspace, { root, providers, progress, context });
      // One that was stopped did not fail.
      if (context.signal.aborted) return stopped(context, output());
      reports.push(report);
      await log.write(`${reportText(report)}\n`);
    }
    if (conform.removeOthers) await removeOthers(workspaces, root, removedFolders, log);
    const failed = reports.filter(({ failure }) => failure !== undefined);
    if (failed.length === 0) return { kind: 'completed', output: output() };
    const told = failed
      .slice(0, failuresShown)
      .map(({ name, failure }) => `${name}: ${failure!.message} (${failure!.code})`);
    const rest = failed.length > failuresShown ? `; and ${failed.length - failuresShown} more` : '';
    return {
      kind: 'failed',
      code: 'CONFORM_INCOMPLETE',
      message: `${failed.length} of ${workspaces.length} workspaces could not be synced: ${told.join('; ')}${rest}`,
      output: output(),
    };
  } finally {
    await log.complete();
  }
}

interface Surroundings {
  readonly root: string;
  readonly providers: readonly WorkspaceSyncProvider[];
  readonly progress: (percent: number, message: string) => void;
  readonly context: LeaseContext;
}

async function conformOne(workspace: Workspace, around: Surroundings): Promise<WorkspaceReport> {
  const { clock, logger, signal } = around.context;
  const { name, folder } = workspace;
  const startMs = clock.monotonicMs();
  const took = () => durationFromMs(Math.round(clock.monotonicMs() - startMs));
  try {
    const provider = around.providers.find(({ kind }) => kind === workspace.provider);
    if (provider === undefined) throw providerUnknown(workspace.provider, around.providers);
    const report = await provider.sync(requestOf(workspace, around.root), { signal, progress: around.progress });
    return create(WorkspaceReportSchema, {
      name,
      folder,
      from: report.from ?? '',
      to: report.to,
      filesAdded: BigInt(report.filesAdded),
      filesChanged: BigInt(report.filesChanged),
      filesRemoved: BigInt(report.filesRemoved),
      filesRestored: BigInt(report.filesRestored),
      untrackedRemoved: BigInt(report.untrackedRemoved),
      storedBytes: BigInt(report.storedBytes),
      repaired: report.repaired,
      took: took(),
    });
  } catch (error) {
    if (!signal.aborted) logger.warn({ workspace: name, err: error }, 'a workspace could not be synced');
    const code = isDroverError(error) ? error.code : 'WORKSPACE_FAILED';
    return create(WorkspaceReportSchema, { name, folder, took: took(), failure: { code, message: messageOf(error) } });
  }
}

function requestOf({ source, revision, folder, submodules, sparse, depth, removal }: Workspace, root: string) {
  const request: WorkspaceSyncRequest = {
    source,
    root,
    folder,
    submodules,
    sparse,
    remove:
      removal === WorkspaceRemoval.UNTRACKED_AND_IGNORED
        ? 'untracked-and-ignored'
        : removal === WorkspaceRemoval.UNTRACKED
          ? 'untracked'
          : 'nothing',
    ...(revision === '' ? {} : { revision }),
    ...(depth === 0 ? {} : { depth }),
  };
  return request;
}

async function removeOthers(
  workspaces: readonly Workspace[],
  root: string,
  removed: string[],
  log: AttemptLog,
): Promise<void> {
  const kept = new Set(workspaces.map(({ folder }) => folder));
  for (const folder of await listWorkspaceFolders(root)) {
    if (kept.has(folder)) continue;
    await removeWorkspaceFolder(root, folder);
    removed.push(folder);
    await log.write(`${folder}: removed\n`);
  }
}

function stopped({ signal }: LeaseContext, output: ReturnType<typeof create<typeof ConformResultSchema>>): Result {
  const { code, message, reasonCode } = signal.reason as StopReason;
  const kind = code === 'timed-out' ? 'timed-out' : code === 'cancelled' ? 'cancelled' : 'lost';
  return { kind, code: reasonCode ?? `CONFORM_${code.toUpperCase().replaceAll('-', '_')}`, message, output };
}

function providerUnknown(kind: string, providers: readonly WorkspaceSyncProvider[]): DroverError {
  const known = providers.map((one) => one.kind).join(', ') || 'none';
  return new DroverError({
    code: 'WORKSPACE_PROVIDER_UNKNOWN',
    advice: 'fix-input',
    message: `this agent has no provider of kind ${JSON.stringify(kind)}; it has: ${known}`,
  });
}
