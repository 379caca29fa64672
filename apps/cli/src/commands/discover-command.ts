import { exitCodes } from '@drover/app-config';
import { diagnose } from '@drover/herd-discovery';
import type { AgentFinder, FoundAgent } from '@drover/herd-protocol';
import { messageOf } from '@drover/lease-kit';
import { Option, type Command } from 'commander';
import { durationOption, UsageError, withJson, type CommandContext } from '../command-context.ts';
import { findLocalAgent } from '../herd/find-local-agent.ts';
import { findersFor, withHerdFinders, type HerdFinderDeps, type HerdFinderOptions } from '../herd/finders-for.ts';
import { readPairedAgents } from '../herd/paired-agents.ts';
import { createLiveDisplay } from '../output/live-display.ts';
import { foundAgentColumns, foundAgentJson, inReadingOrder } from '../output/found-agent-view.ts';
import { printable, tableText } from '../output/print-table.ts';

interface DiscoverOptions extends HerdFinderOptions {
  readonly timeout: number;
  readonly json?: boolean;
  readonly watch?: boolean;
  readonly doctor?: boolean;
}

/** With `--watch`, who has been silent for so many rounds has gone. */
const silentRoundsMax = 3;

/** `drover discover`: agents on the LAN, as they answer. */
export function addDiscoverCommand(program: Command, context: CommandContext): void {
  withJson(withHerdFinders(program.command('discover')))
    .description('find agents on the LAN, with no server: who is there, how busy, and where')
    .addOption(
      new Option('--timeout <duration>', 'how long answers are waited for')
        .argParser(durationOption('--timeout', 50))
        .default(1_000, '1s'),
    )
    .option('-w, --watch', 'go on looking until it is stopped; with --json one document a line for each look')
    .option('--doctor', 'say what keeps agents from being found or reached, and what to do')
    .action(async (options: DiscoverOptions) => {
      if (options.doctor === true && options.watch === true)
        throw new UsageError('--doctor and --watch exclude each other');
      if (options.doctor === true && !options.lan)
        throw new UsageError('--doctor looks at the LAN: leave --no-lan out');
      if (!options.lan && options.agent === undefined && options.dns === undefined) {
        throw new UsageError('--no-lan leaves nobody to ask; name hosts with --agent or a domain with --dns');
      }
      if (options.doctor === true) return await runDoctor(options, context);
      if (options.watch === true) return await watchAgents(options, context);
      await discoverOnce(options, context);
    });
}

async function discoverOnce(options: DiscoverOptions, context: CommandContext): Promise<void> {
  const troubles: string[] = [];
  const finder = findersFor(options, finderDeps(troubles, context), (error) => troubles.push(messageOf(error)));
  const display = createLiveDisplay(context.stderr);
  const isLive = context.stdout.isTTY && context.stderr.isTTY && options.json !== true;
  const agents = new Map<string, FoundAgent>();
  try {
    for await (const agent of finder.find({ timeoutMs: options.timeout, signal: context.signal })) {
      agents.set(agent.agentId, agent);
      if (isLive) display.status([table(agents.values()), 'looking …']);
    }
  } finally {
    display.end();
  }
  const listed = inReadingOrder(agents.values());
  if (options.json === true) {
    context.stdout.write(`${JSON.stringify({ agents: listed.map(foundAgentJson), troubles }, undefined, 2)}\n`);
    return;
  }
  for (const trouble of troubles) context.stderr.write(`${printable(trouble)}\n`);
  context.stdout.write(`${table(listed)}\n`);
  if (listed.length === 0) context.stderr.write('drover discover --doctor tells more\n');
}

/** Looks again and again, and shows who is there now. */
async function watchAgents(options: DiscoverOptions, context: CommandContext): Promise<void> {
  const { signal, stdout } = context;
  const display = createLiveDisplay(stdout);
  const seen = new Map<string, { agent: FoundAgent; silentRounds: number }>();
  const say = (text: string): void => void (stdout.isTTY || stdout.write(`${printable(text)}\n`));
  while (!signal.aborted) {
    const troubles: string[] = [];
    const finder: AgentFinder = findersFor(options, finderDeps(troubles, context), (error) =>
      troubles.push(messageOf(error)),
    );
    const answered = new Map<string, FoundAgent>();
    const draw = (): void => {
      const agents = [...seen.values()].map(({ agent }) => agent);
      if (stdout.isTTY) display.status([...troubles.map(printable), table(agents), 'Ctrl+C ends this']);
    };
    const startedMs = performance.now();
    try {
      for await (const agent of finder.find({ timeoutMs: options.timeout, signal })) {
        answered.set(agent.agentId, agent);
        if (!seen.has(agent.agentId) && options.json !== true) say(`here  ${lineOf(agent)}`);
        seen.set(agent.agentId, { agent, silentRounds: 0 });
        if (options.json !== true) draw();
      }
    } catch (error) {
      if (troubles.length === 0) troubles.push(messageOf(error));
    }
    if (signal.aborted) break;
    for (const [agentId, entry] of seen) {
      if (answered.has(agentId)) continue;
      entry.silentRounds += 1;
      if (entry.silentRounds < silentRoundsMax) continue;
      seen.delete(agentId);
      if (options.json !== true) say(`gone  ${lineOf(entry.agent)}`);
    }
    if (options.json === true) {
      const agents = inReadingOrder([...seen.values()].map(({ agent }) => agent));
      stdout.write(`${JSON.stringify({ agents: agents.map(foundAgentJson), troubles })}\n`);
    } else draw();
    // Where nothing can be asked, or all have answered at once, it does not turn in circles.
    await pause(options.timeout - (performance.now() - startedMs), signal);
  }
  display.end();
  // Stopping is how it is meant to end.
  context.exit(exitCodes.ok);
}

async function runDoctor(options: DiscoverOptions, context: CommandContext): Promise<void> {
  const { port, timeout, agent: hosts = [], dns: domains, interface: interfaces } = options;
  const paired = readPairedAgents(context.env);
  // Agents that one is paired with are asked where they were then, as those that are named.
  const known = [...hosts, ...paired.hosts.filter((host) => !hosts.includes(host))].slice(0, 256);
  const { agents, findings } = await diagnose(
    { port, timeoutMs: timeout, hosts: known, domains, interfaces, signal: context.signal },
    { knownAgents: paired, localAgent: findLocalAgent },
  );
  context.signal.throwIfAborted();
  if (options.json === true) {
    context.stdout.write(`${JSON.stringify({ agents: agents.map(foundAgentJson), findings }, undefined, 2)}\n`);
  } else {
    if (agents.length > 0) context.stdout.write(`${table(agents)}\n\n`);
    for (const { code, message, advice } of findings) {
      context.stdout.write(`${code}: ${printable(message)}\n  ${printable(advice)}\n`);
    }
    if (findings.length === 0) context.stdout.write('nothing is wrong that can be seen from here\n');
  }
  if (findings.length > 0) context.exit(exitCodes.unavailable);
}

/** What is worth a line of what a search meets, each once. */
function finderDeps(troubles: string[], { env }: Pick<CommandContext, 'env'>): HerdFinderDeps {
  const said = new Set<string>();
  const say = (text: string): void => {
    if (said.has(text) || said.size >= 64) return;
    said.add(text);
    troubles.push(text);
  };
  return {
    knownAgents: readPairedAgents(env),
    onLegacyNote: say,
    onEvent(event) {
      if (event.type === 'silent') say(`${event.host} does not answer on UDP port ${event.port}`);
      if (event.type === 'unresolved') say(`${event.host} has no address (${event.code})`);
      if (event.type === 'other-version') {
        say(`${event.name} (${event.from}) runs Drover ${event.version}, whose herd protocol is another`);
      }
      if (event.type === 'dropped' && event.reason === 'forged') {
        say(`a forged reply from ${event.from} was dropped`);
      }
    },
  };
}

function table(agents: Iterable<FoundAgent>): string {
  return tableText(foundAgentColumns, inReadingOrder(agents), 'no agent has answered');
}

function lineOf({ name, availability, slots, addresses, version }: FoundAgent): string {
  const { host } = addresses[0]!;
  return `${name}  ${availability}  ${slots.free}/${slots.total} slots  ${version}  ${host}`;
}

function pause(delayMs: number, signal: AbortSignal): Promise<void> {
  if (delayMs <= 0 || signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', done);
      resolve();
    };
    const timer = setTimeout(done, delayMs);
    signal.addEventListener('abort', done);
  });
}
