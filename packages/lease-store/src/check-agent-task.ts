import { passingRefusalDelayMs } from '@drover/lease-kit';
import type { AgentTaskKey, AgentTaskRetry, AgentTaskWish, BindAgentTasks } from './agent-task-store.ts';
import {
  checkCount,
  checkEnqueueEntries,
  checkPayload,
  checkSession,
  checkText,
  checkWhole,
} from './check-store-input.ts';
import { inputInvalid } from './store-errors.ts';
import { storeLimits } from './store-limits.ts';

/** How long a wish may wait or be wanted. */
const dayMs = 86_400_000;
const delayMsMax = 31 * dayMs;
/** What holds for a wish that says nothing of it. */
export const agentTaskExpiryMs = 366 * dayMs;

/** Throws for a key that cannot exist. */
export function checkAgentTaskKey(where: string, key: AgentTaskKey): void {
  checkText(`${where}.source`, key.source, storeLimits.idLengthMax);
  checkText(`${where}.agentId`, key.agentId, storeLimits.idLengthMax);
}

/** Throws for wishes that no store takes. */
export function checkAgentTaskWishes(wishes: readonly AgentTaskWish[]): void {
  checkAgentTaskKeys('wishes', wishes);
  wishes.forEach((wish, index) => {
    const at = `wishes[${index}]`;
    checkPayload(`${at}.payload`, wish.payload, storeLimits.agentTaskPayloadBytesMax);
    if (wish.group !== undefined) {
      checkText(`${at}.group.name`, wish.group.name, storeLimits.nameLengthMax);
      checkWhole(`${at}.group.max`, wish.group.max, 1, 2 ** 31 - 1);
    }
    checkWhole(`${at}.delayMs`, wish.delayMs ?? 0, 0, delayMsMax);
    checkWhole(`${at}.expiresAfterMs`, wish.expiresAfterMs ?? agentTaskExpiryMs, 1, agentTaskExpiryMs);
  });
}

/** Throws for too many keys, or one that stands twice. */
export function checkAgentTaskKeys(where: string, keys: readonly AgentTaskKey[]): void {
  checkCount(where, keys.length, storeLimits.agentTasksPerCallMax);
  const known = new Set<string>();
  keys.forEach((key, index) => {
    checkAgentTaskKey(`${where}[${index}]`, key);
    const name = `${key.source}\0${key.agentId}`;
    if (known.has(name)) throw inputInvalid(`${where}[${index}]`, `${key.agentId} stands twice`, 'each agent once');
    known.add(name);
  });
}

/** Throws for a binding beyond its bounds, or a draft that no store takes. */
export function checkBindAgentTasks(request: BindAgentTasks): void {
  const { source, entries, atOnceMax, drainTtlMs } = request;
  checkText('source', source, storeLimits.idLengthMax);
  checkCount('entries', entries.length, storeLimits.agentTaskBindingsMax);
  if (atOnceMax !== undefined) checkWhole('atOnceMax', atOnceMax, 0, 2 ** 31 - 1);
  checkWhole('drainTtlMs', drainTtlMs, 1_000, 3_600_000);
  const agents = new Set<string>();
  entries.forEach(({ session, revision, draft }, index) => {
    const at = `entries[${index}]`;
    checkSession(`${at}.session`, session);
    checkWhole(`${at}.revision`, revision, 0, Number.MAX_SAFE_INTEGER);
    if (agents.has(session.agentId)) throw inputInvalid(at, `${session.agentId} stands twice`, 'each agent once');
    agents.add(session.agentId);
    if (draft !== undefined && draft.source !== source) {
      throw inputInvalid(`${at}.draft.source`, JSON.stringify(draft.source), JSON.stringify(source));
    }
  });
  checkEnqueueEntries(entries.flatMap(({ draft }) => (draft === undefined ? [] : [{ draft }])));
}

/** Throws for a retry policy that is out of bounds. */
export function checkAgentTaskRetry({ backoffMs, failuresMax }: AgentTaskRetry): void {
  checkCount('backoffMs', backoffMs.length, 20);
  backoffMs.forEach((ms, index) => checkWhole(`backoffMs[${index}]`, ms, 0, delayMsMax));
  checkWhole('failuresMax', failuresMax, 1, 1_000);
}

/** What follows an end: whether the task is done again, after which wait, and how many failures in a row there were. */
export function agentTaskDecision(
  task: {
    readonly wanted: boolean;
    /** Something else has been wanted since the lease was bound. */
    readonly replaced: boolean;
    readonly failures: number;
  },
  end: { readonly succeeded: boolean; readonly isPassingRefusal: boolean },
  retry: AgentTaskRetry,
): { readonly wantedAgain: boolean; readonly failures: number; readonly delayMs: number } {
  // The wait of what came in its place is its own.
  if (task.wanted && task.replaced) return { wantedAgain: true, failures: 0, delayMs: 0 };
  if (end.succeeded) return { wantedAgain: false, failures: 0, delayMs: 0 };
  if (end.isPassingRefusal)
    return { wantedAgain: task.wanted, failures: task.failures, delayMs: passingRefusalDelayMs };
  const failures = task.failures + 1;
  const wantedAgain = task.wanted && failures < retry.failuresMax;
  return { wantedAgain, failures, delayMs: retry.backoffMs[Math.min(failures, retry.backoffMs.length) - 1] ?? 0 };
}
