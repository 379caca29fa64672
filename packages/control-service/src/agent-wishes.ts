import { durationMs, type Duration } from '@bufbuild/protobuf/wkt';
import { AgentTaskWishResult, type AgentSelection } from '@drover/control-api';
import type { AgentTaskWish, WantedAgentTask } from '@drover/lease-store';
import { inputInvalid } from './input-errors.ts';

const expiresAfterMsDefault = 24 * 3_600_000;
const expiresAfterMsMax = 366 * 24 * 3_600_000;

/** How long something is wanted of an agent that is away. Throws `EXPIRY_INVALID`. */
export function expiryOf(duration: Duration | undefined): number {
  if (duration === undefined) return expiresAfterMsDefault;
  const ms = Math.round(durationMs(duration));
  if (ms >= 1_000 && ms <= expiresAfterMsMax) return ms;
  throw inputInvalid('EXPIRY_INVALID', 'expires_after', `${ms} ms`, '1 s to 366 days');
}

/** The cap that the wishes of one request share; equal requests name equal groups, so that a repeated one changes nothing. */
export function wishGroup(agents: AgentSelection | undefined, atOnceMax: number): Pick<AgentTaskWish, 'group'> {
  if (atOnceMax === 0) return {};
  const named = agents?.pool === undefined || agents.pool === '' ? 'agents' : `pool ${agents.pool}`;
  return { group: { name: `${named}, at most ${atOnceMax}`.slice(0, 256), max: atOnceMax } };
}

/** What became of a wish, as callers read it; undefined for an agent that was removed while it was asked for. */
export function wishResultOf({
  agentId,
  result,
}: WantedAgentTask): { readonly agentId: string; readonly result: AgentTaskWishResult } | undefined {
  return result === 'unknown-agent' ? undefined : { agentId, result: wishResults[result] };
}

const wishResults: Readonly<Record<Exclude<WantedAgentTask['result'], 'unknown-agent'>, AgentTaskWishResult>> = {
  wanted: AgentTaskWishResult.WANTED,
  replaced: AgentTaskWishResult.REPLACED,
  unchanged: AgentTaskWishResult.UNCHANGED,
};
