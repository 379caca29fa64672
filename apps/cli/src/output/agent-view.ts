import type { timestampMs } from '@bufbuild/protobuf/wkt';
import { AgentHealthState, AgentState, type AgentStatus, type SettingNote } from '@drover/control-api';
import { printable } from './print-table.ts';
import { ago, bytesText, timeText } from './words.ts';

/** States of agents as the words that people use, on the command line too. */
export const agentStateWords: Readonly<Record<string, AgentState>> = {
  ok: AgentState.OK,
  busy: AgentState.BUSY,
  stopping: AgentState.STOPPING,
  unhealthy: AgentState.UNHEALTHY,
  offline: AgentState.OFFLINE,
};

const healthWords: Readonly<Partial<Record<AgentHealthState, string>>> = {
  [AgentHealthState.HEALTHY]: 'healthy',
  [AgentHealthState.SUSPECTED]: 'suspected',
  [AgentHealthState.QUARANTINED]: 'quarantined',
  [AgentHealthState.CLEARED]: 'cleared',
};

/** A state of health as a word. */
export function healthWord(state: AgentHealthState): string {
  return healthWords[state] ?? 'unknown';
}

/** The columns of `drover agents`. */
export const agentColumns = [
  { head: 'AGENT', cell: (agent: AgentStatus) => agent.agentId },
  { head: 'STATE', cell: stateText },
  { head: 'SINCE', cell: (agent: AgentStatus) => ago(agent.standing?.since) },
  { head: 'LEASES', cell: (agent: AgentStatus) => String(agent.leases) },
  { head: 'RESOURCES', cell: resourcesText },
  { head: 'POOLS', cell: (agent: AgentStatus) => (agent.standing?.pools ?? []).join(', ') },
  { head: 'VERSION', cell: (agent: AgentStatus) => agent.description?.version ?? '' },
  { head: 'COMMENT', cell: commentText },
];

/** All that is known of one agent, a line each. */
export function agentLines(agent: AgentStatus): readonly string[] {
  const { description, standing, conditionReason } = agent;
  const line = (name: string, text: string | undefined): string[] =>
    text === undefined || text === '' ? [] : [`${name.padEnd(12)}${printable(text)}`];
  const note = (given: SettingNote | undefined, until = ''): string | undefined =>
    given && `${until}by ${given.by}, ${ago(given.at)} ago${given.comment === '' ? '' : `: ${given.comment}`}`;
  const until = (time: AgentStatus['sessionOpenedAt']): string =>
    time === undefined ? '' : `until ${timeText(time)} `;
  return [
    ...line('agent', agent.agentId),
    ...line('name', description?.name),
    ...line('state', stateText(agent)),
    ...line('reason', conditionReason?.message),
    ...line('since', standing?.since && `${timeText(standing.since)} (${ago(standing.since)})`),
    ...line('disabled', note(standing?.disabled)),
    ...line('busy', note(standing?.busy, until(standing?.busyUntil))),
    ...line('downtime', note(standing?.downtime, until(standing?.downtimeUntil))),
    ...line('health', standing?.healthReason && `${healthWord(standing.health)}: ${standing.healthReason}`),
    ...line('pools', standing?.pools.join(', ')),
    ...line('leases', `${agent.leases} of at most ${description?.leasesMax ?? 0}`),
    ...line('resources', resourcesText(agent)),
    ...line('version', description?.version),
    ...line('ephemeral', description?.ephemeral === true ? 'takes one lease and leaves' : undefined),
    ...line('epoch', String(agent.epoch)),
    ...line('boot', description?.bootId),
    ...line('handles', description?.payloadTypes.join(', ')),
    ...(description?.properties ?? []).flatMap(({ key, value }) => line('property', `${key}=${value}`)),
  ];
}

function stateText({ standing, conditionReason }: AgentStatus): string {
  const word = Object.entries(agentStateWords).find(([, state]) => state === standing?.state)?.[0] ?? 'unknown';
  const isReported = standing?.state === AgentState.UNHEALTHY || standing?.state === AgentState.BUSY;
  const said = isReported && conditionReason !== undefined ? `${word}: ${conditionReason.code}` : word;
  const marks = [
    ...(standing?.disabled === undefined ? [] : ['disabled']),
    ...(standing?.downtime === undefined ? [] : ['downtime']),
    ...(standing === undefined || standing.health === 0 ? [] : [healthWord(standing.health)]),
  ];
  return [said, ...marks].join(', ');
}

function commentText({ standing }: AgentStatus): string {
  return [standing?.disabled, standing?.busy, standing?.downtime]
    .flatMap((note) => (note === undefined || note.comment === '' ? [] : [note.comment]))
    .join('; ');
}

function resourcesText(agent: AgentStatus): string {
  return Object.entries(agent.description?.resources ?? {})
    .map(([name, total]) => {
      const used = Number(agent.resourcesUsed[name] ?? 0n);
      const text = (amount: number): string => (name === 'ram' ? bytesText(amount) : String(amount));
      return `${name} ${text(used)}/${text(Number(total))}`;
    })
    .join(', ');
}

/** When something happens, for a table. */
export function timeSpanText(start: Parameters<typeof timestampMs>[0], end: Parameters<typeof timestampMs>[0]): string {
  return `${timeText(start)} to ${timeText(end)}`;
}
