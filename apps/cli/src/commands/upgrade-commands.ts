import { create } from '@bufbuild/protobuf';
import { durationFromMs, durationMs } from '@bufbuild/protobuf/wkt';
import { exitCodes } from '@drover/app-config';
import {
  ListRolloutAgentsResponseSchema,
  ListRolloutsResponseSchema,
  RolloutAgentState,
  RolloutState,
  type Rollout,
  type RolloutAgent,
} from '@drover/control-api';
import { delay, systemClock } from '@drover/lease-kit';
import type { Command } from 'commander';
import { createReadStream } from 'node:fs';
import {
  countOption,
  durationOption,
  usingServer,
  UsageError,
  withJson,
  withServer,
  type CommandContext,
  type ServerOptions,
} from '../command-context.ts';
import { callOptions, type FleetClient } from '../fleet-client.ts';
import { jsonText } from '../output/job-json.ts';
import { printable, tableText } from '../output/print-table.ts';
import { ago, span } from '../output/words.ts';
import { digestOfFile, readText } from './bundle-commands.ts';

interface ChannelOptions extends ServerOptions {
  readonly channel?: string;
  readonly json?: boolean;
  readonly wait?: boolean;
}
interface StartOptions extends ChannelOptions {
  readonly bundle?: readonly string[];
  readonly rings?: readonly number[];
  readonly soak?: number;
  readonly atOnce?: number;
  readonly healthyWithin?: number;
  readonly allowDowngrade?: boolean;
}

const lookMs = 1_000;

/** `drover agents upgrade`: the versions of channels. */
export function addUpgradeCommands(agents: Command, context: CommandContext): void {
  const out = (text: string): void => void context.stdout.write(`${text}\n`);
  const withChannel = (command: Command): Command =>
    withJson(withServer(command, context.env)).option('--channel <name>', 'the channel, e.g. stable');
  const waits = (command: Command): Command =>
    command.option('--wait', 'until it is complete (exit code 0) or halted (exit code 1)');
  // Options behind the name of an inner command are the inner command's.
  agents.enablePositionalOptions();

  const upgrade = waits(withChannel(agents.command('upgrade')))
    .description('roll a version out to the agents of a channel, ring by ring')
    .option('--bundle <file>', 'the archive, its signature beside it; repeatable, one for each platform', collect)
    .option('--rings <percentages>', 'e.g. 1%,10%,50%,100%, which is the default', ringsOption)
    .option('--soak <duration>', 'how long a ring must be done before the next; default 0s', durationOption('--soak'))
    .option('--at-once <count>', 'most agents at once; default 10', countOption('--at-once', 1, 1_000))
    .option(
      '--healthy-within <duration>',
      'for a new version to prove itself; default 2min',
      durationOption('--healthy-within'),
    )
    .option('--allow-downgrade', 'agents with a newer version go back to this one')
    .enablePositionalOptions()
    .action(async (options: StartOptions) => {
      const channel = channelOf(options);
      const { bundle } = options;
      if (bundle === undefined) throw new UsageError('--bundle FILE is missing');
      await usingServer(options, context, async (client) => {
        const signatures: string[] = [];
        for (const file of bundle) {
          signatures.push(await readText(`${file}.sig.json`));
          const digest = await digestOfFile(file);
          await client.content.write(digest, () => createReadStream(file), { signal: context.signal });
        }
        const { rollout } = await client.upgrades.startRollout(
          {
            channel,
            signatures,
            rings: [...(options.rings ?? [])],
            atOnceMax: options.atOnce ?? 0,
            allowDowngrade: options.allowDowngrade ?? false,
            ...(options.soak === undefined ? {} : { soak: durationFromMs(options.soak) }),
            ...(options.healthyWithin === undefined ? {} : { healthyWithin: durationFromMs(options.healthyWithin) }),
          },
          callOptions(context.signal),
        );
        await finish(client, rollout!, options);
      });
    });

  withChannel(upgrade.command('status'))
    .description('where the roll-outs stand; with --channel, every agent of it')
    .action(async (options: ChannelOptions) => {
      await usingServer(options, context, async (client) => {
        const answer = await client.upgrades.listRollouts(
          { channel: options.channel ?? '' },
          callOptions(context.signal),
        );
        if (options.channel === undefined) {
          if (options.json === true) return out(jsonText(ListRolloutsResponseSchema, answer));
          return out(tableText(rolloutColumns, answer.rollouts, 'no channel has a roll-out'));
        }
        const found = await allAgents(client, options.channel, context.signal);
        if (options.json === true) {
          const list = create(ListRolloutAgentsResponseSchema, { agents: found });
          out(
            `{"rollouts":${jsonText(ListRolloutsResponseSchema, answer)},"agents":${jsonText(ListRolloutAgentsResponseSchema, list)}}`,
          );
          return;
        }
        for (const rollout of answer.rollouts) for (const line of rolloutLines(rollout)) out(line);
        out('');
        out(tableText(agentColumns, found, 'no agent is in the channel'));
      });
    });

  withChannel(upgrade.command('halt'))
    .description('upgrade no further agent; those under way come to their end')
    .option('--reason <text>', 'why, for people', '')
    .action(async (options: ChannelOptions & { readonly reason: string }) => {
      const request = { channel: channelOf(options), reason: options.reason };
      await usingServer(options, context, async (client) => {
        const { rollout } = await client.upgrades.haltRollout(request, callOptions(context.signal));
        show(rollout!, options);
      });
    });

  waits(withChannel(upgrade.command('resume')))
    .description('go on with a roll-out that was halted; agents that failed are tried again')
    .action(async (options: ChannelOptions) => {
      const request = { channel: channelOf(options) };
      await usingServer(options, context, async (client) => {
        const { rollout } = await client.upgrades.resumeRollout(request, callOptions(context.signal));
        await finish(client, rollout!, options);
      });
    });

  waits(withChannel(upgrade.command('rollback')))
    .description('take a channel back to the version that it had before')
    .action(async (options: ChannelOptions) => {
      const request = { channel: channelOf(options) };
      await usingServer(options, context, async (client) => {
        const { rollout } = await client.upgrades.rollBackRollout(request, callOptions(context.signal));
        await finish(client, rollout!, options);
      });
    });

  function show(rollout: Rollout, options: ChannelOptions): void {
    if (options.json === true)
      out(jsonText(ListRolloutsResponseSchema, create(ListRolloutsResponseSchema, { rollouts: [rollout] })));
    else for (const line of rolloutLines(rollout)) out(line);
  }

  async function finish(client: FleetClient, started: Rollout, options: ChannelOptions): Promise<void> {
    const rollout = options.wait === true ? await followed(client, started) : started;
    show(rollout, options);
    if (options.wait === true && rollout.state !== RolloutState.COMPLETE) context.exit(exitCodes.jobFailed);
  }

  /** Looks until the roll-out is no longer rolling, or another has taken its place. */
  async function followed(client: FleetClient, started: Rollout): Promise<Rollout> {
    for (;;) {
      const { rollouts } = await client.upgrades.listRollouts(
        { channel: started.channel },
        callOptions(context.signal),
      );
      const [now] = rollouts;
      const isSame = now?.version === started.version && now.startedAt?.seconds === started.startedAt?.seconds;
      if (now === undefined || !isSame || now.state !== RolloutState.ROLLING) return now ?? started;
      await delay(systemClock, lookMs, context.signal);
      context.signal.throwIfAborted();
    }
  }
}

async function allAgents(client: FleetClient, channel: string, signal: AbortSignal): Promise<RolloutAgent[]> {
  const found: RolloutAgent[] = [];
  let pageToken = '';
  do {
    const page = await client.upgrades.listRolloutAgents({ channel, pageSize: 1_000, pageToken }, callOptions(signal));
    found.push(...page.agents);
    pageToken = page.nextPageToken;
  } while (pageToken !== '');
  return found;
}

function channelOf({ channel }: ChannelOptions): string {
  if (channel === undefined) throw new UsageError('--channel NAME is missing');
  return channel;
}

function collect(text: string, before: readonly string[] = []): string[] {
  return [...before, text];
}

function ringsOption(text: string): number[] {
  const rings = text.split(',').map((part) => /^\s*(\d{1,3}(?:\.\d{1,4})?)%?\s*$/.exec(part)?.[1]);
  if (rings.every((ring) => ring !== undefined)) return rings.map(Number);
  throw new UsageError(`--rings is ${JSON.stringify(text)}; allowed are percentages that ascend, e.g. 1%,10%,50%,100%`);
}

const stateWords: Readonly<Record<number, string>> = {
  [RolloutState.ROLLING]: 'rolling',
  [RolloutState.HALTED]: 'halted',
  [RolloutState.COMPLETE]: 'complete',
};
const agentWords: Readonly<Record<number, string>> = {
  [RolloutAgentState.UPGRADED]: 'upgraded',
  [RolloutAgentState.WAITING]: 'waiting',
  [RolloutAgentState.DRAINING]: 'draining',
  [RolloutAgentState.UPGRADING]: 'upgrading',
  [RolloutAgentState.FAILED]: 'failed',
  [RolloutAgentState.ASIDE]: 'set aside',
  [RolloutAgentState.UNABLE]: 'unable',
};

function ringText({ rings, ring }: Rollout): string {
  return `${ring} of ${rings.length} (${rings[ring - 1] ?? 100} %)`;
}

function countsText({ counts }: Rollout): string {
  const sorted = [...counts].sort((a, b) => a.state - b.state);
  return sorted.map(({ state, agents }) => `${agents} ${agentWords[state] ?? 'unknown'}`).join(', ') || 'no agents';
}

function rolloutLines(rollout: Rollout): string[] {
  const { channel, version, state, reason, reasonCode, previousVersion, soak, ringDoneFor } = rollout;
  const soaks =
    state === RolloutState.ROLLING && ringDoneFor !== undefined && soak !== undefined
      ? `, done for ${span(durationMs(ringDoneFor))} of ${span(durationMs(soak))}`
      : '';
  return [
    `channel   ${channel}`,
    `version   ${version}${previousVersion === '' ? '' : ` (before: ${previousVersion})`}`,
    `state     ${stateWords[state] ?? 'unknown'}`,
    `ring      ${ringText(rollout)}${soaks}`,
    `agents    ${countsText(rollout)}`,
    ...(reason === '' ? [] : [`reason    ${printable(reason)} (${reasonCode})`]),
  ];
}

const rolloutColumns = [
  { head: 'CHANNEL', cell: ({ channel }: Rollout) => channel },
  { head: 'VERSION', cell: ({ version }: Rollout) => version },
  { head: 'STATE', cell: ({ state }: Rollout) => stateWords[state] ?? 'unknown' },
  { head: 'RING', cell: ringText },
  { head: 'AGENTS', cell: countsText },
  { head: 'STARTED', cell: ({ startedAt }: Rollout) => ago(startedAt) },
  { head: 'BY', cell: ({ startedBy }: Rollout) => startedBy },
];

const agentColumns = [
  { head: 'AGENT', cell: ({ agentId }: RolloutAgent) => agentId },
  { head: 'RING', cell: ({ ring }: RolloutAgent) => String(ring) },
  { head: 'VERSION', cell: ({ version }: RolloutAgent) => version },
  { head: 'STATE', cell: ({ state }: RolloutAgent) => agentWords[state] ?? 'unknown' },
  { head: 'WHY', cell: ({ reason, reasonCode }: RolloutAgent) => (reason === '' ? '' : `${reason} (${reasonCode})`) },
];
