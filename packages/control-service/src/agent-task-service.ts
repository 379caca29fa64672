import { create } from '@bufbuild/protobuf';
import { timestampFromMs, type Any } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { callerFrom, changeFrom } from '@drover/access';
import {
  AgentTaskEndSchema,
  AgentTaskSchema,
  AgentTaskService,
  AgentTaskState,
  AgentTaskWishResult,
  AgentTaskWithdrawal,
  ListAgentTasksResponseSchema,
  RequestAgentTasksResponseSchema,
  WithdrawAgentTasksResponseSchema,
  type AgentTask,
  type ListAgentTasksRequest,
  type ListAgentTasksResponse,
  type RequestAgentTasksRequest,
  type RequestAgentTasksResponse,
  type WithdrawAgentTasksRequest,
  type WithdrawAgentTasksResponse,
} from '@drover/control-api';
import { isDroverError, payloadTypeOf, type AgentTaskKind } from '@drover/lease-kit';
import { ReasonSchema } from '@drover/lease-protocol';
import type {
  AgentTaskEnd,
  AgentTaskKey,
  AgentTaskRecord,
  AgentTaskStore,
  StoreContext,
  StoreSignals,
  WantedAgentTask,
  WithdrawnAgentTask,
} from '@drover/lease-store';
import { connectErrorFrom } from '@drover/rpc-errors';
import { expiryOf, wishGroup, wishResultOf } from './agent-wishes.ts';
import { idFromPageToken, inputInvalid, pageSizeOf, pageTokenOf } from './input-errors.ts';
import { outcomeOnWire } from './job-status.ts';
import { outputBytesMax, readOutput, type ReadOutputDeps } from './read-output.ts';
import { isInOneOf, selectAgents, type SelectAgentsDeps } from './select-agents.ts';

/** Who works together in the service. */
export interface AgentTaskServiceDeps {
  readonly store: {
    readonly agentTasks: Pick<AgentTaskStore, 'want' | 'withdraw' | 'list'>;
    readonly sessions: SelectAgentsDeps['sessions'];
    readonly signals: Pick<StoreSignals, 'announce'>;
  };
  /** What may be wanted, by the name of the source. */
  readonly kinds: ReadonlyMap<string, AgentTaskKind>;
  /** How outputs are read that stand elsewhere. */
  readonly outputs: ReadOutputDeps;
  /** Names of the pools that an agent is in. */
  readonly poolsOf: SelectAgentsDeps['poolsOf'];
}

type Call = StoreContext & { readonly signal: AbortSignal; readonly pools: readonly string[] | undefined };

const wishesPerCall = 1_000;
const pageMax = 1_000;
const pageDefault = 200;
const outputsPageMax = 200;
const reasonBytesMax = 1_024;
/** Pages of the store that one list of a caller with a scope may look through. */
const scopedPagesMax = 20;

/**
 * Puts drover.control.v1.AgentTaskService on a router. Callers come through the gate of `@drover/access`; one that is limited
 * to pools sees and changes the agents of those alone.
 */
export function registerAgentTaskService(router: ConnectRouter, deps: AgentTaskServiceDeps): ConnectRouter {
  const unary = async <T>(context: HandlerContext, run: (call: Call) => Promise<T>): Promise<T> => {
    try {
      const { principal, pools } = callerFrom(context.values);
      return await run({ principal, pools, signal: context.signal });
    } catch (error) {
      throw connectErrorFrom(error);
    }
  };
  return router.service(AgentTaskService, {
    requestAgentTasks: (request, context) =>
      unary(context, async (call) => {
        const response = await requestAgentTasks(request, deps, call);
        const { source, forced } = request;
        for (const { agentId, result } of response.wishes) {
          if (result === AgentTaskWishResult.UNCHANGED) continue;
          changeFrom(context.values)?.note({ subject: `agent:${agentId}`, after: { wanted: source, forced } });
        }
        return response;
      }),
    listAgentTasks: (request, context) => unary(context, (call) => listAgentTasks(request, deps, call)),
    withdrawAgentTasks: (request, context) =>
      unary(context, async (call) => {
        const response = await withdrawAgentTasks(request, deps, call);
        for (const { agentId, result } of response.withdrawals) {
          if (result === AgentTaskWithdrawal.NOT_WANTED) continue;
          changeFrom(context.values)?.note({ subject: `agent:${agentId}`, before: { wanted: request.source } });
        }
        return response;
      }),
  });
}

async function requestAgentTasks(
  request: RequestAgentTasksRequest,
  deps: AgentTaskServiceDeps,
  call: Call,
): Promise<RequestAgentTasksResponse> {
  const { source, forced, payload, agents, atOnceMax } = request;
  const kind = deps.kinds.get(source);
  if (kind === undefined) throw sourceUnknown(source, deps);
  if (payload === undefined || payloadTypeOf(payload) !== kind.payloadType) {
    throw inputInvalid('PAYLOAD_INVALID', 'payload', payload?.typeUrl || 'there is none', `a ${kind.payloadType}`);
  }
  kind.check(payload);
  const expiresAfterMs = expiryOf(request.expiresAfter);
  const agentIds = await selectAgents(agents, call.pools, { ...deps, sessions: deps.store.sessions }, call);
  const group = wishGroup(agents, atOnceMax);
  const wanted: WantedAgentTask[] = [];
  for (let from = 0; from < agentIds.length; from += wishesPerCall) {
    const wishes = agentIds
      .slice(from, from + wishesPerCall)
      .map((agentId) => ({ source, agentId, payload, forced, expiresAfterMs, endsBackOff: true, ...group }));
    wanted.push(...(await deps.store.agentTasks.want(wishes, call)));
    deps.store.signals.announce({ kind: 'work', source });
  }
  const wishes = wanted.flatMap((one) => wishResultOf(one) ?? []);
  return create(RequestAgentTasksResponseSchema, { wishes });
}

async function withdrawAgentTasks(
  { source, agents, reason }: WithdrawAgentTasksRequest,
  deps: AgentTaskServiceDeps,
  call: Call,
): Promise<WithdrawAgentTasksResponse> {
  if (!deps.kinds.has(source)) throw sourceUnknown(source, deps);
  if (Buffer.byteLength(reason) > reasonBytesMax) {
    throw inputInvalid('INVALID_REASON', 'reason', `${Buffer.byteLength(reason)} bytes`, `at most ${reasonBytesMax}`);
  }
  const agentIds = await selectAgents(agents, call.pools, { ...deps, sessions: deps.store.sessions }, call);
  const { agentTasks, signals } = deps.store;
  const withdrawn: WithdrawnAgentTask[] = [];
  for (let from = 0; from < agentIds.length; from += wishesPerCall) {
    const keys = agentIds.slice(from, from + wishesPerCall).map((agentId) => ({ source, agentId }));
    withdrawn.push(...(await agentTasks.withdraw(keys, reason || 'no longer wanted', call)));
    signals.announce({ kind: 'work', source });
  }
  for (const { attempt } of withdrawn) {
    if (attempt !== undefined) signals.announce({ kind: 'cancel', agentId: attempt.agentId });
  }
  return create(WithdrawAgentTasksResponseSchema, {
    withdrawals: withdrawn.map(({ agentId, result }) => ({ agentId, result: withdrawals[result] })),
  });
}

async function listAgentTasks(
  request: ListAgentTasksRequest,
  deps: AgentTaskServiceDeps,
  call: Call,
): Promise<ListAgentTasksResponse> {
  const limit = pageSizeOf(request.pageSize, pageDefault, request.withOutputs ? outputsPageMax : pageMax);
  let outputBytes = 0;
  let after = keyFromPageToken(request.pageToken);
  const tasks: AgentTask[] = [];
  for (let page = 0; page < scopedPagesMax && tasks.length < limit; page += 1) {
    const records = await deps.store.agentTasks.list(
      {
        limit: limit - tasks.length,
        ...(after === undefined ? {} : { after }),
        ...(request.source === '' ? {} : { source: request.source }),
        ...(request.agentId === '' ? {} : { agentId: request.agentId }),
        onlyLive: request.onlyLive,
        withOutputs: request.withOutputs,
      },
      call,
    );
    const isLast = records.length < limit - tasks.length;
    after = isLast ? undefined : records.at(-1);
    for (const record of records) {
      if (call.pools === undefined || (await isOfPools(record.agentId, call.pools, deps, call))) {
        const output = await lastOutputOf(record, deps, call);
        outputBytes += output?.value.byteLength ?? 0;
        tasks.push(agentTaskOf(record, outputBytes > outputBytesMax ? undefined : output));
      }
    }
    if (isLast) break;
  }
  return create(ListAgentTasksResponseSchema, {
    tasks,
    nextPageToken: after === undefined ? '' : pageTokenOf(JSON.stringify([after.source, after.agentId])),
  });
}

async function isOfPools(
  agentId: string,
  pools: readonly string[],
  { store, poolsOf }: AgentTaskServiceDeps,
  call: Call,
): Promise<boolean> {
  try {
    return isInOneOf(poolsOf(await store.sessions.agent(agentId, call)), pools);
  } catch (error) {
    if (isDroverError(error, 'AGENT_NOT_FOUND')) return false;
    throw error;
  }
}

async function lastOutputOf({ last }: AgentTaskRecord, { outputs }: AgentTaskServiceDeps, { signal }: Call) {
  return last?.output && readOutput(last.output, last.leaseId ?? '', outputs, signal);
}

function agentTaskOf(record: AgentTaskRecord, output: Any | undefined): AgentTask {
  const { source, agentId, payload, forced, requestedBy, failures, leaseId, last } = record;
  return create(AgentTaskSchema, {
    source,
    agentId,
    state: states[record.state],
    payload,
    forced,
    requestedBy,
    requestedAt: timestampFromMs(record.requestedAtMs),
    ...(record.notBeforeMs === undefined ? {} : { notBefore: timestampFromMs(record.notBeforeMs) }),
    expiresAt: timestampFromMs(record.expiresAtMs),
    failures,
    ...(leaseId === undefined ? {} : { leaseId }),
    ...(last === undefined ? {} : { last: endOnWire(last, output) }),
  });
}

function endOnWire({ leaseId = '', outcome, succeeded, reason, atMs }: AgentTaskEnd, output: Any | undefined) {
  return create(AgentTaskEndSchema, {
    leaseId,
    outcome: outcomeOnWire(outcome),
    succeeded,
    ...(reason === undefined ? {} : { reason: create(ReasonSchema, reason) }),
    endedAt: timestampFromMs(atMs),
    ...(output === undefined ? {} : { output }),
  });
}

function sourceUnknown(source: string, { kinds }: AgentTaskServiceDeps) {
  const known = [...kinds.keys()].join(', ') || 'nothing on this server';
  return inputInvalid('AGENT_TASK_UNKNOWN', 'source', JSON.stringify(source.slice(0, 64)), known);
}

function keyFromPageToken(token: string): AgentTaskKey | undefined {
  const text = idFromPageToken(token);
  if (text === undefined) return undefined;
  try {
    const key: unknown = JSON.parse(text);
    if (Array.isArray(key) && typeof key[0] === 'string' && typeof key[1] === 'string') {
      return { source: key[0], agentId: key[1] };
    }
  } catch {
    // Told below.
  }
  throw inputInvalid('INVALID_PAGE_TOKEN', 'page_token', 'it is none', 'the next_page_token of the answer before');
}

const withdrawals: Readonly<Record<WithdrawnAgentTask['result'], AgentTaskWithdrawal>> = {
  withdrawn: AgentTaskWithdrawal.WITHDRAWN,
  cancelling: AgentTaskWithdrawal.CANCELLING,
  'not-wanted': AgentTaskWithdrawal.NOT_WANTED,
};

const states: Readonly<Record<AgentTaskRecord['state'], AgentTaskState>> = {
  waiting: AgentTaskState.WAITING,
  draining: AgentTaskState.DRAINING,
  carried: AgentTaskState.CARRIED,
  withdrawing: AgentTaskState.WITHDRAWING,
  expired: AgentTaskState.EXPIRED,
  ended: AgentTaskState.ENDED,
};
