import { createLegacyFinder } from '@drover/herd-bridge/client';
import {
  createDnsFinder,
  createLanFinder,
  createStaticFinder,
  discoveryPortDefault,
  mergeOf,
  type FinderDeps,
} from '@drover/herd-discovery';
import type { AgentFinder } from '@drover/herd-protocol';
import type { Command } from 'commander';
import { countOption } from '../command-context.ts';

/** Where a command looks for agents. */
export interface HerdFinderOptions {
  /** Hosts to ask beside the LAN. */
  readonly agent?: readonly string[];
  /** Domains whose SRV records list agents. */
  readonly dns?: readonly string[];
  readonly port: number;
  readonly interface?: readonly string[];
  /** False: only `agent` and `dns` are asked. */
  readonly lan: boolean;
  /** Agents of the original Herd protocol are looked for too. */
  readonly legacy?: boolean;
}

/** Who is told what. */
export interface HerdFinderDeps extends FinderDeps {
  /** Called with what a person may want to know of the search for original agents. */
  readonly onLegacyNote?: ((text: string) => void) | undefined;
}

/** Adds the options that say where agents are looked for. */
export function withHerdFinders(command: Command): Command {
  return command
    .option('-a, --agent <host...>', 'ask these hosts too, as HOST or HOST:PORT: agents of other networks')
    .option('--dns <domain...>', 'ask the hosts too that DNS lists: SRV records _drover-herd._udp.DOMAIN')
    .option('--port <number>', 'UDP port of the agents', countOption('--port', 1, 65_535), discoveryPortDefault)
    .option('--interface <name...>', 'look in the networks of these interfaces alone')
    .option('--no-lan', 'ask nobody but --agent and --dns')
    .option('--legacy', 'look for agents of the original Herd protocol too, on the LAN and at --agent: UDP port 2333');
}

/** All finders that the options ask for, as one: an agent that several find is one. */
export function findersFor(
  options: HerdFinderOptions,
  deps: HerdFinderDeps,
  onFailure?: (error: unknown) => void,
): AgentFinder {
  const { port, agent = [], dns = [], interface: interfaces } = options;
  return mergeOf(
    [
      ...(options.lan ? [createLanFinder({ port, interfaces }, deps)] : []),
      ...(agent.length === 0 ? [] : [createStaticFinder({ hosts: agent, port }, deps)]),
      ...dns.map((domain) => createDnsFinder({ domain }, deps)),
      ...(options.legacy === true && (options.lan || agent.length > 0) ? [legacyFinder(options, deps)] : []),
    ],
    onFailure,
  );
}

function legacyFinder(options: HerdFinderOptions, deps: HerdFinderDeps): AgentFinder {
  const { lan, agent = [], interface: from } = options;
  // A port behind a host is that of Drover's discovery; the original has its own, always the same.
  const hosts = agent.filter((host) => !host.startsWith('[')).map((host) => ({ host: host.replace(/:\d+$/, '') }));
  return createLegacyFinder({ broadcast: lan, directedBroadcast: true, hosts, from }, { onNote: deps.onLegacyNote });
}
