import { create } from '@bufbuild/protobuf';
import { timestampFromMs, type Any } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { callerFrom, changeFrom } from '@drover/access';
import {
  AgentTaskWishResult,
  ListWorkspacesResponseSchema,
  PutWorkspaceResponseSchema,
  RemoveWorkspaceResponseSchema,
  RequestConformResponseSchema,
  WorkspaceDefinitionSchema,
  WorkspaceRemovalPolicy,
  WorkspaceService,
  type RequestConformRequest,
  type RequestConformResponse,
  type WorkspaceDefinition,
} from '@drover/control-api';
import {
  workspaceLimits,
  workspaceSetDigest,
  workspacesOf,
  type AgentRecord,
  type AgentTaskWish,
  type DroverStore,
  type StoreContext,
  type WorkspaceDraft,
  type WorkspaceRecord,
} from '@drover/lease-store';
import { connectErrorFrom } from '@drover/rpc-errors';
import { expiryOf, wishGroup, wishResultOf } from './agent-wishes.ts';
import { idFromPageToken, inputInvalid, pageSizeOf, pageTokenOf } from './input-errors.ts';
import { isInOneOf, selectAgents, type SelectAgentsDeps } from './select-agents.ts';

/** Who works together in the service. */
export interface WorkspaceServiceDeps {
  readonly store: Pick<DroverStore, 'workspaces' | 'agentTasks' | 'sessions' | 'signals'>;
  /** Names of the pools that an agent is in. */
  readonly poolsOf: SelectAgentsDeps['poolsOf'];
  /** What is wanted of an agent that is asked to conform to a set of workspaces, for the source `conform`. */
  readonly wishOf: (asked: { readonly setDigest: string; readonly clean: boolean; readonly reason: string }) => Any;
}

type Call = StoreContext & { readonly signal: AbortSignal; readonly pools: readonly string[] | undefined };

const source = 'conform';
const wishesPerCall = 1_000;
const agentsPage = 1_000;
/** Agents of one request; a fleet has no more. */
const agentPagesMax = 100;

/**
 * Puts drover.control.v1.WorkspaceService on a router. Callers come through the gate of `@drover/access`; one that is limited to
 * pools asks agents of those alone to conform.
 */
export function registerWorkspaceService(router: ConnectRouter, deps: WorkspaceServiceDeps): ConnectRouter {
  const { workspaces, signals } = deps.store;
  const unary = async <T>(context: HandlerContext, run: (call: Call) => Promise<T>): Promise<T> => {
    try {
      const { principal, pools } = callerFrom(context.values);
      const change = changeFrom(context.values);
      return await run({ principal, pools, signal: context.signal, ...(change === undefined ? {} : { change }) });
    } catch (error) {
      throw connectErrorFrom(error);
    }
  };
  return router.service(WorkspaceService, {
    listWorkspaces: (request, context) =>
      unary(context, async (call) => {
        const limit = pageSizeOf(request.pageSize, 200, 1_000);
        const after = idFromPageToken(request.pageToken);
        const found = await workspaces.workspaces(after === undefined ? { limit } : { after, limit }, call);
        const nextPageToken = found.length < limit ? '' : pageTokenOf(found.at(-1)!.name);
        return create(ListWorkspacesResponseSchema, { workspaces: found.map(onWire), nextPageToken });
      }),
    putWorkspace: (request, context) =>
      unary(context, async (call) => {
        const record = await workspaces.putWorkspace(draftOf(request.workspace), call);
        signals.announce({ kind: 'work', source });
        return create(PutWorkspaceResponseSchema, { workspace: onWire(record) });
      }),
    removeWorkspace: (request, context) =>
      unary(context, async (call) => {
        await workspaces.removeWorkspace(request.name, call);
        signals.announce({ kind: 'work', source });
        return create(RemoveWorkspaceResponseSchema);
      }),
    requestConform: (request, context) =>
      unary(context, async (call) => {
        const response = await requestConform(request, deps, call);
        for (const { agentId, result } of response.wishes) {
          if (result === AgentTaskWishResult.UNCHANGED) continue;
          const { clean, reason } = request;
          call.change?.note({ subject: `agent:${agentId}`, after: { wanted: source, clean, reason } });
        }
        return response;
      }),
  });
}

async function requestConform(
  request: RequestConformRequest,
  deps: WorkspaceServiceDeps,
  call: Call,
): Promise<RequestConformResponse> {
  const { agents: selection, clean, reason, atOnceMax } = request;
  const expiresAfterMs = expiryOf(request.expiresAfter);
  const all = await deps.store.workspaces.workspaces({ limit: workspaceLimits.workspacesMax }, call);
  const wishes: AgentTaskWish[] = [];
  for (const agent of await agentsOf(request, deps, call)) {
    const kept = workspacesOf(all, deps.poolsOf(agent));
    if (kept.length === 0) continue;
    const payload = deps.wishOf({ setDigest: workspaceSetDigest(kept), clean, reason });
    const { agentId } = agent;
    wishes.push({ source, agentId, payload, expiresAfterMs, endsBackOff: true, ...wishGroup(selection, atOnceMax) });
  }
  if (wishes.length === 0) {
    throw inputInvalid(
      'WORKSPACES_NONE',
      'agents',
      'none of them has a workspace',
      'agents that keep one; see drover workspaces',
    );
  }
  const results: NonNullable<ReturnType<typeof wishResultOf>>[] = [];
  for (let from = 0; from < wishes.length; from += wishesPerCall) {
    const wanted = await deps.store.agentTasks.want(wishes.slice(from, from + wishesPerCall), call);
    deps.store.signals.announce({ kind: 'work', source });
    results.push(...wanted.flatMap((one) => wishResultOf(one) ?? []));
  }
  return create(RequestConformResponseSchema, { wishes: results });
}

async function agentsOf(
  { agents: selection }: RequestConformRequest,
  { store: { sessions }, poolsOf }: WorkspaceServiceDeps,
  call: Call,
): Promise<readonly AgentRecord[]> {
  if (selection !== undefined) {
    const found: AgentRecord[] = [];
    for (const id of await selectAgents(selection, call.pools, { sessions, poolsOf }, call)) {
      found.push(await sessions.agent(id, call));
    }
    return found;
  }
  const found: AgentRecord[] = [];
  let after: string | undefined;
  for (let page = 0; page < agentPagesMax; page += 1) {
    const agents = await sessions.agents({ limit: agentsPage, ...(after === undefined ? {} : { after }) }, call);
    for (const agent of agents) {
      if (agent.session === undefined) continue;
      if (call.pools === undefined || isInOneOf(poolsOf(agent), call.pools)) found.push(agent);
    }
    if (agents.length < agentsPage) break;
    after = agents.at(-1)!.agentId;
  }
  return found;
}

function draftOf(definition: WorkspaceDefinition | undefined): WorkspaceDraft {
  if (definition === undefined) throw inputInvalid('WORKSPACE_INVALID', 'workspace', 'there is none', 'a definition');
  const { name, pools, provider, source: from, revision, folder, submodules, sparse, depth, removal } = definition;
  const remove = removals.get(removal);
  if (remove === undefined) {
    throw inputInvalid('WORKSPACE_INVALID', 'removal', String(removal), 'one of WorkspaceRemovalPolicy');
  }
  return {
    name,
    pools,
    provider: provider || 'git',
    source: from,
    revision,
    folder: folder || name,
    submodules,
    sparse,
    depth,
    remove,
  };
}

function onWire({ changedAtMs, remove, pools, sparse, ...rest }: WorkspaceRecord): WorkspaceDefinition {
  const [removal] = [...removals].findLast(([, word]) => word === remove)!;
  return create(WorkspaceDefinitionSchema, {
    ...rest,
    pools: [...pools],
    sparse: [...sparse],
    removal,
    changedAt: timestampFromMs(changedAtMs),
  });
}

const removals: ReadonlyMap<WorkspaceRemovalPolicy, WorkspaceDraft['remove']> = new Map([
  [WorkspaceRemovalPolicy.UNSPECIFIED, 'nothing'],
  [WorkspaceRemovalPolicy.NOTHING, 'nothing'],
  [WorkspaceRemovalPolicy.UNTRACKED, 'untracked'],
  [WorkspaceRemovalPolicy.UNTRACKED_AND_IGNORED, 'untracked-and-ignored'],
]);
