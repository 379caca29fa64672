import { addConfigOptions, configFromCommand, exitCodes, listenForStop, logOptions } from '@drover/app-config';
import type { LeaseAgentEvent } from '@drover/lease-agent';
import { DroverError, type Logger } from '@drover/lease-kit';
import { createLogger } from '@drover/telemetry';
import { Command } from 'commander';
import type { DependencyContainer } from 'tsyringe';
import { agentConfig, serverUrlsOf } from './agent-config.ts';
import { startHealth } from './agent-health.ts';
import { addBusyCommands } from './busy-commands.ts';
import { careForMachine } from './care-for-machine.ts';
import { createConfiguredAgent, machineFacts } from './compose-agent.ts';
import { factsText } from './print-facts.ts';
import { isInHerd } from './herd-config.ts';
import { addHerdAccessCommands } from './herd/herd-access-commands.ts';
import { addServiceCommands } from './service/service-commands.ts';
import { tellServiceManager } from './service/tell-service-manager.ts';
import { conditionOfMachine } from './without-servers.ts';

/**
 * What a process that was started by another tells it over the IPC channel, if there is one: the first session is open, or the
 * herd where it has no servers.
 */
export interface AgentReady {
  readonly type: 'ready';
  readonly agentId: string;
}

/**
 * `drover agent`: runs an agent until SIGTERM or SIGINT. The first one takes no new leases and waits for what runs (at most
 * `stop.grace`); the second cancels what runs, and the exit code says so. What the server has not confirmed by then stays in
 * the journal. A program with lease types of its own registers their handlers with `extend`.
 */
export function createAgentCommand(extend?: (container: DependencyContainer) => void): Command {
  const command = new Command('agent')
    .description('run an agent on this machine')
    .option('--print-facts', 'print what conditions and needs can name on this machine, and end');
  addBusyCommands(command);
  addHerdAccessCommands(
    command.command('herd').description('who is let in by the agent of this machine, for jobs straight from the LAN'),
  );
  addServiceCommands(command);
  return addConfigOptions(command, agentConfig).action(async () => {
    const request = configFromCommand(agentConfig, command, { env: process.env, cwd: process.cwd() });
    if (request.kind === 'print') {
      process.stdout.write(request.text);
      return;
    }
    const config = request.config.value;
    const logger = createLogger({ ...logOptions(config.log), base: { app: 'agent' } });
    if (command.opts<{ readonly printFacts?: boolean }>().printFacts === true) {
      await using facts = machineFacts(config, logger);
      await facts.refresh();
      await facts.settled();
      process.stdout.write(factsText(config, facts.describe()));
      return;
    }
    using stop = listenForStop();
    await using told = tellServiceManager(logger);
    const onEvent = (event: LeaseAgentEvent): void => {
      logEvent(event, logger);
      told.hear(event);
      // The first event comes after the start, so the agent below is there.
      if (event.type === 'session-failed' || event.type === 'link-lost') composed.identity?.learn(event);
      if (event.type === 'condition-changed') herd?.setCondition(event.condition);
      if (event.type === 'session-opened') tellReady();
    };
    const tellReady = (): void => {
      process.send?.({ type: 'ready', agentId: composed.agent.agentId } satisfies AgentReady);
    };
    await using composed = await createConfiguredAgent(config, logger, onEvent, extend);
    const { agent, facts, identity } = composed;
    const servers = serverUrlsOf(config);
    const onHangUp = (): void => {
      logger.reopenFile();
      logger.info({}, 'SIGHUP: the facts of the machine and the certificate are read again');
      void health?.reload();
      void facts.refresh({ probe: true });
    };
    process.on('SIGHUP', onHangUp);
    using _hangUp = { [Symbol.dispose]: () => void process.off('SIGHUP', onHangUp) };
    // Loaded for who is in the herd alone.
    const { startHerd } = isInHerd(config.herd) ? await import('./herd/compose-herd.ts') : {};
    await using herd = await startHerd?.(config, { agent, facts, logger });
    const machine = servers.length > 0 ? agent : conditionOfMachine((condition) => herd?.setCondition(condition));
    await using _care = await careForMachine(config, { agent: machine, herd, logger });
    await using health = await startHealth(config, agent, logger);
    if (identity?.wasEnrolled === false) {
      told.ready('waiting to be approved');
      // A machine that never was an agent has nothing to take up, and may wait long for somebody to approve it.
      await Promise.race([identity.enrolled(), aborted(stop.drain)]);
      if (stop.drain.aborted) {
        // Jobs of the herd may run all the same.
        await herd?.drain(stop.cancel).catch(() => undefined);
        return;
      }
    }
    if (servers.length > 0) await agent.start();
    told.ready(servers.length > 0 ? 'without a session yet' : 'open to the herd');
    logger.info({ agentId: agent.agentId, servers, herd: herd?.url, health: health?.url }, 'the agent is running');
    if (servers.length === 0) {
      // Nobody else can say that this version of the agent works.
      composed.supervision?.tellHealthy();
      tellReady();
    }
    let isCutShort = false;
    // What keeps the agent from stopping is told by `done`.
    const stopAgent = (how: 'drain' | 'cancel'): void => void agent.stop({ how }).catch(() => undefined);
    const herdCut = new AbortController();
    let herdDrained: Promise<void> | undefined;
    const cutShort = (): void => {
      isCutShort = true;
      stopAgent('cancel');
      herdCut.abort();
    };
    stop.drain.addEventListener('abort', () => {
      logger.info({ signal: String(stop.drain.reason) }, 'draining; a second signal cancels what runs');
      told.stopping('draining: what runs may end');
      stopAgent('drain');
      herdDrained = herd?.drain(herdCut.signal).catch(() => undefined);
      setTimeout(cutShort, Math.min(config.stop.grace, timerMsMax)).unref();
    });
    stop.cancel.addEventListener('abort', cutShort);
    let refusal: unknown;
    identity?.refused.catch((error: unknown) => {
      refusal = error;
      logger.error({ err: error }, 'the servers do not take this agent any more: what runs is cancelled');
      stopAgent('cancel');
    });
    const reason = await agent.done;
    // Leases may end sooner than jobs of the herd.
    await herdDrained;
    logger.info({ reason }, 'the agent has ended');
    if (refusal !== undefined) throw refusal;
    if (isCutShort || reason === 'unsettled') {
      // What ran may have been ended before it was done, or its end is not settled yet.
      process.exitCode = stop.drain.reason === 'SIGINT' ? exitCodes.interrupted : exitCodes.terminated;
    }
    if (reason === 'fenced' || reason === 'quarantined') {
      process.exitCode = exitCodes.fenced;
      throw new DroverError({
        code: reason === 'fenced' ? 'AGENT_FENCED' : 'AGENT_QUARANTINED',
        advice: 'fenced',
        message:
          reason === 'fenced'
            ? `another process has opened a session as agent ${agent.agentId}: give each machine its own id`
            : `two machines take turns as agent ${agent.agentId}, so the server has locked both out for now`,
      });
    }
  });
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}

/** A timer of Node with a longer delay fires at once. */
const timerMsMax = 2 ** 31 - 1;

function logEvent({ type, ...fields }: LeaseAgentEvent, logger: Logger): void {
  const lines: Record<LeaseAgentEvent['type'], readonly [level: 'debug' | 'info' | 'warn' | 'error', text: string]> = {
    'session-opened': ['info', 'a session is open'],
    // The library has said these two itself, with the error.
    'session-failed': ['debug', 'no session for now'],
    'link-lost': ['debug', 'the link to the server broke'],
    'attempt-refused': ['warn', 'an attempt was refused'],
    'attempt-started': ['info', 'an attempt has started'],
    'attempt-ended': ['info', 'an attempt has ended'],
    'journal-failed': ['error', 'the journal cannot be written'],
    'description-changed': ['info', 'the machine has changed; the server is told'],
    'condition-changed': ['debug', 'whether the agent takes work has changed'],
    'journal-recovered': ['info', 'the journal can be written again'],
    exit: ['info', 'nothing follows'],
  };
  const [level, text] = lines[type];
  logger[level](fields, text);
}
