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
}

/** Adds the options that say where agents are looked for. */
export function withHerdFinders(command: Command): Command {
  return command
    .option('-a, --agent <host...>', 'ask these hosts too, as HOST or HOST:PORT: agents of other networks')
    .option('--dns <domain...>', 'ask the hosts too that DNS lists: SRV records _drover-herd._udp.DOMAIN')
    .option('--port <number>', 'UDP port of the agents', countOption('--port', 1, 65_535), discoveryPortDefault)
    .option('--interface <name...>', 'look in the networks of these interfaces alone')
    .option('--no-lan', 'ask nobody but --agent and --dns');
}

/** All finders that the options ask for, as one: an agent that several find is one. */
export function findersFor(
  options: HerdFinderOptions,
  deps: FinderDeps,
  onFailure?: (error: unknown) => void,
): AgentFinder {
  const { port, agent = [], dns = [], interface: interfaces } = options;
  return mergeOf(
    [
      ...(options.lan ? [createLanFinder({ port, interfaces }, deps)] : []),
      ...(agent.length === 0 ? [] : [createStaticFinder({ hosts: agent, port }, deps)]),
      ...dns.map((domain) => createDnsFinder({ domain }, deps)),
    ],
    onFailure,
  );
}
