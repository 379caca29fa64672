import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import {
  AgentHealthState,
  AgentStandingSchema,
  AgentState,
  AgentStatusSchema,
  SettingNoteSchema,
  type AgentStanding,
  type AgentStatus,
} from '@drover/control-api';
import type { FleetPolicy } from '@drover/fleet-policy';
import { AgentCondition, ReasonSchema } from '@drover/lease-protocol';
import type { AgentHealthRecord, AgentRecord, AgentSettings, SettingNote } from '@drover/lease-store';
import { storedTraits } from './fleet-reader.ts';

const conditions: Readonly<Record<AgentRecord['condition'], AgentCondition>> = {
  ready: AgentCondition.READY,
  busy: AgentCondition.BUSY,
  stopping: AgentCondition.STOPPING,
  unhealthy: AgentCondition.UNHEALTHY,
};

const states: Readonly<Record<AgentRecord['condition'], AgentState>> = {
  ready: AgentState.OK,
  busy: AgentState.BUSY,
  stopping: AgentState.STOPPING,
  unhealthy: AgentState.UNHEALTHY,
};

/** States of health on the wire. */
export const healthStates: Readonly<Record<AgentHealthRecord['state'], AgentHealthState>> = {
  suspected: AgentHealthState.SUSPECTED,
  quarantined: AgentHealthState.QUARANTINED,
  cleared: AgentHealthState.CLEARED,
};

/** An agent as people and programs see it. `settings` are those that the store has just answered. */
export function agentStatusOf(
  record: AgentRecord,
  settings: AgentSettings | undefined,
  policy: FleetPolicy,
): AgentStatus & { readonly standing: AgentStanding } {
  const standing = standingOf(record, settings, policy);
  const status = create(AgentStatusSchema, {
    agentId: record.agentId,
    description: record.description,
    online: record.session !== undefined,
    condition: record.session === undefined ? AgentCondition.UNSPECIFIED : conditions[record.condition],
    epoch: BigInt(record.epoch),
    leases: record.leases,
    standing,
  });
  if (record.session !== undefined) {
    status.sessionOpenedAt = timestampFromMs(record.session.openedAtMs);
    if (record.conditionReason) status.conditionReason = create(ReasonSchema, record.conditionReason);
  }
  for (const [name, count] of Object.entries(record.resourcesUsed)) status.resourcesUsed[name] = BigInt(count);
  return Object.assign(status, { standing });
}

function standingOf(record: AgentRecord, settings: AgentSettings | undefined, policy: FleetPolicy): AgentStanding {
  const { pools } = storedTraits(record, policy);
  const { downtime, withheld } = policy.policyOf(record.agentId, pools);
  const { disabled, busy } = settings ?? {};
  const said = states[record.condition];
  // An agent that is made busy may not have heard of it yet.
  const connected = busy !== undefined && said === AgentState.OK ? AgentState.BUSY : said;
  const sinceMs = record.session?.openedAtMs ?? record.leftAtMs;
  return create(AgentStandingSchema, {
    state: record.session === undefined ? AgentState.OFFLINE : connected,
    pools: [...pools],
    ...(sinceMs === undefined ? {} : { since: timestampFromMs(sinceMs) }),
    ...(disabled === undefined ? {} : { disabled: noteOf(disabled) }),
    ...(busy === undefined ? {} : { busy: noteOf(busy), busyUntil: timestampFromMs(busy.untilMs) }),
    ...(downtime === undefined ? {} : { downtime: noteOf(downtime), downtimeUntil: timestampFromMs(downtime.untilMs) }),
    ...(withheld === undefined ? {} : { health: healthStates[withheld.state], healthReason: withheld.reason }),
  });
}

function noteOf({ comment, by, atMs }: SettingNote) {
  return create(SettingNoteSchema, { comment, by, at: timestampFromMs(atMs) });
}
