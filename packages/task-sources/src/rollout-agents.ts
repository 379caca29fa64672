import { bundleProperty, channelProperty, rolloutGroup, type RolloutAgent } from '@drover/agent-rollouts';
import type { AgentRecord, AgentTaskRecord, DroverStore, RolloutRecord, StoreContext } from '@drover/lease-store';

/** What the agents of a channel are read from. */
export type RolloutAgentsStore = Pick<DroverStore, 'sessions' | 'agentTasks' | 'agentSettings'>;

/** The source of upgrades' leases and tasks. */
export const upgradeSourceName = 'upgrade';
/** Type name of an upgrade's payload. */
export const upgradePayloadType = 'drover.upgrade.v1.Upgrade';

const pageSize = 1_000;
/** Agents beyond are not looked at: 100 pages of 1,000. */
const pagesMax = 100;

/** An agent of a channel with the version that it says it is. */
export type ChannelAgent = RolloutAgent & { readonly version: string };

/** The agents of these roll-outs' channels, as they stand, by channel: each is read once. */
export async function readRolloutAgents(
  store: RolloutAgentsStore,
  rollouts: readonly RolloutRecord[],
  context: StoreContext,
): Promise<ReadonlyMap<string, readonly ChannelAgent[]>> {
  const found = new Map<string, ChannelAgent[]>(rollouts.map(({ channel }) => [channel, []]));
  const byChannel = new Map(rollouts.map((rollout) => [rollout.channel, rollout]));
  const tasks = await readTasks(store, context);
  let after: string | undefined;
  for (let page = 0; page < pagesMax; page += 1) {
    const agents = await store.sessions.agents({ limit: pageSize, ...(after === undefined ? {} : { after }) }, context);
    const members = agents.filter((agent) => byChannel.has(channelOf(agent) ?? ''));
    const ids = members.map(({ agentId }) => agentId);
    const settings = ids.length === 0 ? [] : await store.agentSettings.settingsOf(ids, context);
    const disabled = new Set(settings.filter((one) => one.disabled !== undefined).map(({ agentId }) => agentId));
    for (const agent of members) {
      const rollout = byChannel.get(channelOf(agent)!)!;
      found
        .get(rollout.channel)!
        .push(rolloutAgent(agent, disabled.has(agent.agentId), tasks.get(agent.agentId), rollout));
    }
    if (agents.length < pageSize) break;
    after = agents.at(-1)!.agentId;
  }
  return found;
}

async function readTasks(
  store: RolloutAgentsStore,
  context: StoreContext,
): Promise<ReadonlyMap<string, AgentTaskRecord>> {
  const tasks = new Map<string, AgentTaskRecord>();
  let after: AgentTaskRecord | undefined;
  for (let page = 0; page < pagesMax; page += 1) {
    const records = await store.agentTasks.list(
      { source: upgradeSourceName, limit: pageSize, ...(after === undefined ? {} : { after }) },
      context,
    );
    for (const record of records) tasks.set(record.agentId, record);
    if (records.length < pageSize) break;
    after = records.at(-1)!;
  }
  return tasks;
}

function rolloutAgent(
  agent: AgentRecord,
  isDisabled: boolean,
  record: AgentTaskRecord | undefined,
  rollout: RolloutRecord,
): ChannelAgent {
  const { description, session, condition } = agent;
  const online = session !== undefined;
  const task = record === undefined ? undefined : taskOf(record, rollout);
  const bundle = propertyOf(agent, bundleProperty);
  const aside = isDisabled ? 'disabled' : online && condition !== 'ready' ? condition : undefined;
  return {
    agentId: agent.agentId,
    version: description.version,
    online,
    upgradable: description.payloadTypes.includes(upgradePayloadType),
    platform: `${propertyOf(agent, 'os') ?? ''}-${propertyOf(agent, 'arch') ?? ''}`,
    ...(aside === undefined ? {} : { aside }),
    ...(bundle === undefined ? {} : { bundle }),
    ...(task === undefined ? {} : { task }),
  };
}

/** What this roll-out has done with an agent; tasks of earlier ones say nothing. */
function taskOf(record: AgentTaskRecord, rollout: RolloutRecord): RolloutAgent['task'] {
  if (record.group?.name !== rolloutGroup(rollout.rolloutId)) return undefined;
  switch (record.state) {
    case 'waiting':
    case 'draining':
      return { state: record.state };
    case 'carried':
    case 'withdrawing':
      return { state: 'upgrading' };
    case 'expired':
      return { state: 'withdrawn' };
    case 'ended': {
      const { last } = record;
      // An end from before it was wanted is that of an earlier roll-out.
      if (last === undefined || last.atMs < record.requestedAtMs || last.outcome === 'cancelled') {
        return { state: 'withdrawn' };
      }
      if (last.succeeded || last.reason?.code === 'UPGRADE_DONE') return { state: 'upgraded' };
      // It came back without a supervisor: nothing was tried.
      if (last.reason?.code === 'LEASE_TYPE_UNKNOWN') return { state: 'withdrawn' };
      return {
        state: 'failed',
        failure: last.reason ?? { code: 'UPGRADE_FAILED', message: `it ended as ${last.outcome}` },
      };
    }
  }
}

function channelOf(agent: AgentRecord): string | undefined {
  return propertyOf(agent, channelProperty);
}

function propertyOf({ description }: AgentRecord, key: string): string | undefined {
  return description.properties.find((property) => property.key.toLowerCase() === key)?.value;
}
