import type { Any } from '@bufbuild/protobuf/wkt';
import { passingRefusalCodes, principalName } from '@drover/lease-kit';
import type {
  AgentTaskEnd,
  AgentTaskKey,
  AgentTaskRecord,
  AgentTaskStore,
  AgentTaskWish,
  BindAgentTasks,
  BoundAgentTask,
  SettledAgentTask,
  WantedAgentTask,
  WithdrawnAgentTask,
} from '../agent-task-store.ts';
import {
  agentTaskDecision,
  agentTaskExpiryMs,
  checkAgentTaskKey,
  checkAgentTaskKeys,
  checkAgentTaskRetry,
  checkAgentTaskWishes,
  checkBindAgentTasks,
} from '../check-agent-task.ts';
import { checkCount, checkText, checkWhole, storedMessage } from '../check-store-input.ts';
import { storeLimits } from '../store-limits.ts';
import type { MemoryData } from './memory-data.ts';

interface MemoryAgentTask extends AgentTaskKey {
  revision: number;
  wanted: boolean;
  payload: Any;
  forced: boolean;
  group: AgentTaskRecord['group'];
  requestedBy: string;
  requestedAtMs: number;
  notBeforeMs: number;
  expiresAtMs: number;
  failures: number;
  drainingUntilMs: number;
  lease: { readonly leaseId: string; readonly revision: number } | undefined;
  last: AgentTaskEnd | undefined;
}

/** The agent tasks of a memory store. */
export function memoryAgentTaskStore(data: MemoryData): AgentTaskStore {
  const tasks = new MemoryAgentTasks(data);
  return {
    want: async (wishes, context) => {
      data.enter(context);
      checkAgentTaskWishes(wishes);
      return wishes.map((wish) => tasks.want(wish, principalName(context.principal)));
    },
    withdraw: async (keys, reason, context) => {
      data.enter(context);
      checkAgentTaskKeys('keys', keys);
      return keys.map((key) => tasks.withdraw(key, storedMessage(reason)));
    },
    list: async ({ after, limit, source, agentId, onlyLive = false, withOutputs = false }, context) => {
      data.enter(context);
      checkWhole('limit', limit, 1, storeLimits.pageMax);
      if (after !== undefined) checkAgentTaskKey('after', after);
      return tasks
        .sorted()
        .filter((task) => after === undefined || compareKeys(task, after) > 0)
        .filter((task) => (source ?? task.source) === task.source && (agentId ?? task.agentId) === task.agentId)
        .map((task) => tasks.record(task, withOutputs))
        .filter(({ state }) => !onlyLive || (state !== 'ended' && state !== 'expired'))
        .slice(0, limit);
    },
    open: async (source, context) => {
      data.enter(context);
      checkText('source', source, storeLimits.idLengthMax);
      return tasks.open(source);
    },
    bind: async (request, context) => {
      data.enter(context);
      checkBindAgentTasks(request);
      data.checkNew(request.entries.flatMap(({ draft }) => (draft === undefined ? [] : [{ draft }])));
      return request.entries.map((entry) => tasks.bind(request, entry));
    },
    drop: async (entries, context) => {
      data.enter(context);
      checkCount('entries', entries.length, storeLimits.agentTaskBindingsMax);
      for (const entry of entries) {
        const task = tasks.find(entry);
        if (!task || task.lease || !task.wanted || task.revision !== entry.revision) continue;
        task.wanted = false;
        task.drainingUntilMs = 0;
        const reason = { code: storedMessage(entry.reason.code), message: storedMessage(entry.reason.message) };
        task.last = { outcome: 'refused', succeeded: false, reason, atMs: data.clock.wallMs() };
      }
    },
    settle: async (source, retry, context) => {
      data.enter(context);
      checkText('source', source, storeLimits.idLengthMax);
      checkAgentTaskRetry(retry);
      return tasks.settle(source, retry);
    },
  };
}

class MemoryAgentTasks {
  readonly #data: MemoryData;
  readonly #tasks = new Map<string, MemoryAgentTask>();

  constructor(data: MemoryData) {
    this.#data = data;
    data.onGroupStopped.push((name) => {
      for (const task of this.#tasks.values()) {
        if (task.group?.name !== name || !task.wanted || task.lease) continue;
        task.wanted = false;
        task.drainingUntilMs = 0;
        task.revision = data.nextSeq();
      }
    });
    data.onAgentForgotten.push((agentId) => {
      for (const [name, task] of this.#tasks) if (task.agentId === agentId) this.#tasks.delete(name);
    });
  }

  find(key: AgentTaskKey): MemoryAgentTask | undefined {
    return this.#tasks.get(nameOf(key));
  }

  sorted(): MemoryAgentTask[] {
    return [...this.#tasks.values()].sort(compareKeys);
  }

  want(wish: AgentTaskWish, requestedBy: string): WantedAgentTask {
    const { source, agentId } = wish;
    if (!this.#data.agents.has(agentId)) return { source, agentId, result: 'unknown-agent' };
    const nowMs = this.#data.clock.wallMs();
    const before = this.find(wish);
    const isWanted = before !== undefined && before.wanted && (before.lease || before.expiresAtMs > nowMs);
    const times = {
      requestedBy,
      requestedAtMs: nowMs,
      notBeforeMs: (wish.delayMs ?? 0) === 0 ? 0 : nowMs + (wish.delayMs ?? 0),
      expiresAtMs: nowMs + (wish.expiresAfterMs ?? agentTaskExpiryMs),
    };
    if (before && isWanted && isSameWish(before, wish)) {
      if (wish.endsBackOff === true && !before.lease) Object.assign(before, { ...times, failures: 0 });
      return { source, agentId, result: 'unchanged' };
    }
    this.#tasks.set(nameOf(wish), {
      ...times,
      source,
      agentId,
      revision: this.#data.nextSeq(),
      wanted: true,
      payload: structuredClone(wish.payload),
      forced: wish.forced ?? false,
      group: wish.group,
      failures: 0,
      drainingUntilMs: 0,
      lease: before?.lease,
      last: before?.last,
    });
    return { source, agentId, result: isWanted ? 'replaced' : 'wanted' };
  }

  withdraw(key: AgentTaskKey, reason: string): WithdrawnAgentTask {
    const { source, agentId } = key;
    const task = this.find(key);
    const lease = task?.lease && this.#data.leases.get(task.lease.leaseId);
    if (!task || (!task.wanted && !lease?.bound)) return { source, agentId, result: 'not-wanted' };
    const wasWanted = task.wanted;
    task.wanted = false;
    task.drainingUntilMs = 0;
    task.revision = this.#data.nextSeq();
    if (!lease?.bound) return { source, agentId, result: wasWanted ? 'withdrawn' : 'not-wanted' };
    lease.cancelReason ??= reason;
    lease.state = 'cancelling';
    const { epoch } = lease.bound;
    const attempt = { leaseId: lease.draft.leaseId, attempt: lease.attempt, agentId: lease.bound.agentId, epoch };
    return { source, agentId, result: 'cancelling', attempt };
  }

  open(source: string) {
    const nowMs = this.#data.clock.wallMs();
    return [...this.#tasks.values()]
      .filter((task) => task.source === source && task.wanted && !task.lease && task.expiresAtMs > nowMs)
      .sort((a, b) => a.revision - b.revision)
      .slice(0, storeLimits.openAgentTasksMax)
      .map(({ agentId, revision, payload, forced, requestedBy, failures, notBeforeMs, drainingUntilMs }) => ({
        source,
        agentId,
        revision,
        payload,
        forced,
        requestedBy,
        failures,
        dueMs: Math.max(0, notBeforeMs - nowMs),
        draining: drainingUntilMs > nowMs,
      }));
  }

  bind(request: BindAgentTasks, entry: BindAgentTasks['entries'][number]): BoundAgentTask {
    const { source, atOnceMax = Infinity, drainTtlMs } = request;
    const { agentId } = entry.session;
    const nowMs = this.#data.clock.wallMs();
    const task = this.find({ source, agentId });
    const isOpen = task?.wanted === true && !task.lease && task.notBeforeMs <= nowMs && task.expiresAtMs > nowMs;
    if (!isOpen || task.revision !== entry.revision) return { source, agentId, result: 'changed' };
    if (!this.#data.isCurrent(entry.session)) return { source, agentId, result: 'fenced' };
    const others = [...this.#tasks.values()].filter(
      (other) => other !== task && other.source === source && this.#takesPlace(other, nowMs),
    );
    const inGroup = others.filter(({ group }) => group !== undefined && group.name === task.group?.name).length;
    if (others.length >= atOnceMax || inGroup >= (task.group?.max ?? Infinity)) {
      return { source, agentId, result: 'full' };
    }
    if (entry.draft === undefined) {
      task.drainingUntilMs = nowMs + drainTtlMs;
      return { source, agentId, result: 'draining' };
    }
    const lease = this.#data.add({ draft: entry.draft, bindTo: entry.session });
    task.lease = { leaseId: entry.draft.leaseId, revision: task.revision };
    task.drainingUntilMs = 0;
    const [attempt] = this.#data.assigned(lease);
    if (!attempt) throw new RangeError('a lease of a current session was not bound');
    return { source, agentId, result: 'bound', attempt };
  }

  settle(source: string, retry: Parameters<AgentTaskStore['settle']>[1]): SettledAgentTask[] {
    const nowMs = this.#data.clock.wallMs();
    const ended = this.sorted().filter(
      (task) => task.source === source && task.lease && !this.#data.leases.get(task.lease.leaseId)?.bound,
    );
    return ended.slice(0, storeLimits.agentTasksPerCallMax).flatMap((task) => {
      if (!task.lease) return [];
      const { leaseId, revision } = task.lease;
      const lease = this.#data.leases.get(leaseId);
      // Given back: nobody else is to take it, and the task is what goes on.
      if (lease?.state === 'waiting') this.#data.retire(lease);
      const last = lease?.attempts.at(-1);
      const end: AgentTaskEnd = {
        leaseId,
        outcome: last?.outcome ?? 'lost',
        succeeded: lease?.succeeded ?? false,
        ...(last?.reason === undefined ? {} : { reason: last.reason }),
        atMs: last?.endedAtMs ?? nowMs,
      };
      const isPassingRefusal = end.outcome === 'refused' && passingRefusalCodes.includes(end.reason?.code ?? '');
      const decision = agentTaskDecision(
        { ...task, replaced: task.revision !== revision },
        { ...end, isPassingRefusal },
        retry,
      );
      task.lease = undefined;
      task.last = end;
      task.wanted = decision.wantedAgain;
      task.failures = decision.failures;
      if (decision.delayMs > 0) task.notBeforeMs = nowMs + decision.delayMs;
      const dueMs = decision.wantedAgain ? Math.max(0, task.notBeforeMs - nowMs) : 0;
      const { agentId } = task;
      return [{ source, agentId, leaseId, end, failures: task.failures, wantedAgain: task.wanted, dueMs }];
    });
  }

  record(task: MemoryAgentTask, withOutput: boolean): AgentTaskRecord {
    const nowMs = this.#data.clock.wallMs();
    const { source, agentId, revision, payload, forced, group, requestedBy, requestedAtMs, failures } = task;
    return {
      source,
      agentId,
      revision,
      state: this.#stateOf(task, nowMs),
      payload,
      forced,
      ...(group === undefined ? {} : { group }),
      requestedBy,
      requestedAtMs,
      ...(task.notBeforeMs > nowMs ? { notBeforeMs: task.notBeforeMs } : {}),
      expiresAtMs: task.expiresAtMs,
      failures,
      ...(task.lease === undefined ? {} : { leaseId: task.lease.leaseId }),
      ...(task.last === undefined ? {} : { last: withOutput ? this.#withOutput(task.last) : task.last }),
    };
  }

  #withOutput(end: AgentTaskEnd): AgentTaskEnd {
    const output = this.#data.leases.get(end.leaseId ?? '')?.output;
    return output === undefined ? end : { ...end, output };
  }

  #stateOf(task: MemoryAgentTask, nowMs: number): AgentTaskRecord['state'] {
    if (task.lease) return task.wanted ? 'carried' : 'withdrawing';
    if (!task.wanted) return 'ended';
    if (task.expiresAtMs <= nowMs) return 'expired';
    return task.drainingUntilMs > nowMs ? 'draining' : 'waiting';
  }

  /** Counts against the caps. */
  #takesPlace(task: MemoryAgentTask, nowMs: number): boolean {
    if (task.lease) return this.#data.leases.get(task.lease.leaseId)?.bound !== undefined;
    const isDraining = task.wanted && task.drainingUntilMs > nowMs;
    return isDraining && this.#data.agents.get(task.agentId)?.session !== undefined;
  }
}

function nameOf({ source, agentId }: AgentTaskKey): string {
  return `${source}\0${agentId}`;
}

function compareKeys(a: AgentTaskKey, b: AgentTaskKey): number {
  if (a.source !== b.source) return a.source < b.source ? -1 : 1;
  if (a.agentId === b.agentId) return 0;
  return a.agentId < b.agentId ? -1 : 1;
}

/** True if a wish asks for what is wanted already; of what is being done, only the payload counts. */
function isSameWish(task: MemoryAgentTask, wish: AgentTaskWish): boolean {
  if (task.payload.typeUrl !== wish.payload.typeUrl) return false;
  if (Buffer.compare(task.payload.value, wish.payload.value) !== 0) return false;
  if (task.lease?.revision === task.revision) return true;
  const isSameGroup = task.group?.name === wish.group?.name && task.group?.max === wish.group?.max;
  return task.forced === (wish.forced ?? false) && isSameGroup;
}
