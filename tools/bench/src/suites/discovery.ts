import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { createLanFinder } from '@drover/herd-discovery';
import { startChild } from '../child-process.ts';
import type { DiscoveryAgentsMethods } from '../children/discovery-agents.ts';
import { rounded, summarize } from '../statistics.ts';
import type { Suite, SuiteContext, SuiteResult } from '../suite.ts';

const agents = 50;
const agentProcesses = 5;
/** What a search may take; who has not answered by then is not found. */
const timeoutMs = 1_000;
/** When a search asks again: what came before was found by the first broadcast. */
const secondRoundMs = timeoutMs / 10;
/** Between two searches: agents answer one client about ten times a second. */
const pauseMsMin = 350;
const pauseMsMax = 450;

/** How long searches of a LAN take. */
export const discoverySuite: Suite = {
  name: 'discovery',
  about: 'a search of the LAN: 50 agents on the loopback interface, until all are found',
  run,
};

/** One search: when each agent was found, in ms from its start. */
interface Trial {
  readonly foundMs: readonly number[];
}

async function run({ say, signal, quick }: SuiteContext): Promise<SuiteResult> {
  const counts = quick ? { warmUp: 1, measured: 4 } : { warmUp: 10, measured: 100 };
  await using started = new AsyncDisposableStack();
  const [port, echoPort] = [await freePort(), await freePort()];
  const children = Array.from({ length: agentProcesses }, () =>
    started.use(
      startChild<DiscoveryAgentsMethods>({ entry: new URL('../children/discovery-agents.ts', import.meta.url) }),
    ),
  );
  for (const [index, child] of children.entries()) {
    const share = { count: agents / agentProcesses, idPrefix: `agent-${index}` };
    await child.call('start', { kind: 'drover', port, ...share });
    await child.call('start', { kind: 'echo', port: echoPort, ...share });
  }
  say(
    `${agents} agents in ${agentProcesses} processes share UDP port ${port} of the loopback interface; each is asked by one ` +
      `broadcast, answers signed, and its signature is checked. A search starts with nothing open and nothing known, as that of a ` +
      `command. Beside it, in turn: as many sockets that answer a datagram of the same size with bytes of the same size (echo), ` +
      `the floor of what these processes and this kernel can do.`,
  );
  const trials: { drover: Trial[]; echo: Trial[] } = { drover: [], echo: [] };
  for (let n = 1; n <= counts.warmUp + counts.measured; n += 1) {
    const drover = await searchOnce(port, signal);
    const echo = await echoOnce(echoPort);
    if (n > counts.warmUp) {
      trials.drover.push(drover);
      trials.echo.push(echo);
    }
    await sleep(pauseMsMin + Math.random() * (pauseMsMax - pauseMsMin), undefined, { signal });
  }
  const unanswered = (await Promise.all(children.map((child) => child.call('unanswered')))).reduce((a, b) => a + b, 0);
  return report(say, trials, unanswered);
}

function report(
  say: SuiteContext['say'],
  trials: { readonly drover: readonly Trial[]; readonly echo: readonly Trial[] },
  unanswered: number,
): SuiteResult {
  // A search that has not found all has taken its whole time, and its figure says so.
  const whole = ({ foundMs }: Trial): number => (foundMs.length === agents ? foundMs.at(-1)! : timeoutMs);
  const all = { drover: trials.drover.map(whole), echo: trials.echo.map(whole) };
  for (const name of ['drover', 'echo'] as const) {
    say(`sample ${name}, ms until all were found: ${JSON.stringify(all[name].map((ms) => rounded(ms)))}`);
    const missed = trials[name].map(({ foundMs }) => agents - foundMs.length);
    say(`sample ${name}, not found: ${JSON.stringify(missed)}`);
  }
  const each = trials.drover.flatMap(({ foundMs }) => foundMs);
  const wanted = trials.drover.length * agents;
  const firstRound = each.filter((ms) => ms < secondRoundMs).length / wanted;
  say(
    `measured path: ${rounded(firstRound * 100)} % of the agents were found by the first broadcast; ${unanswered} requests unanswered`,
  );
  const [drover, echo, agent] = [summarize(all.drover), summarize(all.echo), summarize(each)];
  return {
    suite: 'discovery',
    figures: {
      agents,
      searches: trials.drover.length,
      found: Math.min(...trials.drover.map(({ foundMs }) => foundMs.length)),
      p50_ms: rounded(drover.p50),
      p99_ms: rounded(drover.p99),
      max_ms: rounded(drover.max),
      agent_p50_ms: rounded(agent.p50),
      agent_p99_ms: rounded(agent.p99),
      first_broadcast_share: rounded(firstRound),
      echo_found: Math.min(...trials.echo.map(({ foundMs }) => foundMs.length)),
      echo_p50_ms: rounded(echo.p50),
      echo_p99_ms: rounded(echo.p99),
    },
    ratios: { p50_over_echo: rounded(drover.p50 / echo.p50), p99_over_echo: rounded(drover.p99 / echo.p99) },
  };
}

async function searchOnce(port: number, signal: AbortSignal): Promise<Trial> {
  const found = new Map<string, number>();
  const startedMs = performance.now();
  for await (const { agentId } of createLanFinder({ port, interfaces: ['lo'] }).find({ timeoutMs, signal })) {
    if (!found.has(agentId)) found.set(agentId, performance.now() - startedMs);
    if (found.size === agents) break;
  }
  return { foundMs: [...found.values()] };
}

/** One datagram to all, and its answers, with nothing asked twice. */
async function echoOnce(port: number): Promise<Trial> {
  const found = new Map<string, number>();
  const startedMs = performance.now();
  const socket = createSocket('udp4');
  try {
    const all = new Promise<void>((resolve) => {
      socket.on('message', (answer) => {
        found.set(answer.toString('latin1', 0, 32), performance.now() - startedMs);
        if (found.size === agents) resolve();
      });
    });
    socket.bind(0);
    await once(socket, 'listening');
    socket.setBroadcast(true);
    socket.send(Buffer.alloc(1_200), port, '127.255.255.255');
    const timer = new AbortController();
    await Promise.race([all, sleep(timeoutMs, undefined, { signal: timer.signal }).catch(() => undefined)]);
    timer.abort();
  } finally {
    socket.close();
  }
  return { foundMs: [...found.values()] };
}

async function freePort(): Promise<number> {
  const socket = createSocket('udp4').bind(0);
  await once(socket, 'listening');
  const { port } = socket.address();
  socket.close();
  return port;
}
