import type { AgentFinder, FoundAgent } from '@drover/herd-protocol';
import { isDroverError, messageOf } from '@drover/lease-kit';
import { parseAgentHost, type AgentHost } from './agent-host.ts';
import { discoveryPortDefault } from './discovery-wire.ts';
import { createDnsFinder } from './dns-finder.ts';
import type { FinderDeps } from './finder-deps.ts';
import { createLanFinder, lanTargets } from './lan-finder.ts';
import { broadcastAddress, interfaceAddresses, type InterfaceAddress } from './link-addresses.ts';
import { probeTcp, probeUdp, type PortState } from './probe-port.ts';
import type { SearchEvent } from './search-events.ts';
import { createStaticFinder } from './static-finder.ts';

/** Something that keeps agents from being found, or from being reached once they are. */
export interface Finding {
  /** Stable, e.g. `OTHER_SUBNET`. */
  readonly code: string;
  /** What was seen, one sentence. */
  readonly message: string;
  /** What to do. */
  readonly advice: string;
}

export interface Diagnosis {
  /** Agents that answer, by whichever way. */
  readonly agents: readonly FoundAgent[];
  /** Empty: nothing is wrong that can be seen from here. */
  readonly findings: readonly Finding[];
}

export interface DiagnoseOptions {
  /** UDP port of the agents. Default 7614. */
  readonly port?: number | undefined;
  /** Hosts that agents are known to run on, `HOST[:PORT]`: those that one is paired with, and those that the user names. */
  readonly hosts?: readonly string[] | undefined;
  /** Domains whose SRV records list agents, e.g. `build.example`. */
  readonly domains?: readonly string[] | undefined;
  /** Names of the interfaces to look at; absent: all. */
  readonly interfaces?: readonly string[] | undefined;
  /** How long replies are waited for. Default 1,000 ms; the whole takes up to three times as long. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export interface DiagnoseDeps extends FinderDeps {
  /** Whether an agent runs on this machine, in words such as `process 4711`; undefined: none, or it cannot be told. */
  readonly localAgent?: ((signal?: AbortSignal) => Promise<string | undefined>) | undefined;
}

/** Agents whose TCP port is tried, and findings of one kind that are told each. */
const triedMax = 32;

/**
 * Looks for agents by every way and says what is in the way of those that are not found. It sends what a search does, and
 * connects to the TCP ports of agents and of `hosts`. Throws `AGENT_HOST_INVALID`.
 */
export async function diagnose(options: DiagnoseOptions = {}, deps: DiagnoseDeps = {}): Promise<Diagnosis> {
  const { port = discoveryPortDefault, timeoutMs = 1_000, signal, hosts: texts = [], domains = [] } = options;
  const hosts = texts.map((text) => parseAgentHost(text, port));
  const interfaces = (deps.interfaces ?? interfaceAddresses)();
  const chosen = interfaces.filter(({ name }) => options.interfaces === undefined || options.interfaces.includes(name));
  const events: SearchEvent[] = [];
  const watching: FinderDeps = {
    ...deps,
    interfaces: () => interfaces,
    onEvent(event) {
      if (events.length < 1_000) events.push(event);
      deps.onEvent?.(event);
    },
  };
  const [byGroup, ofHosts, localAgent, ...ofDomains] = await Promise.all([
    collect(createLanFinder({ port, interfaces: options.interfaces }, watching), timeoutMs, signal),
    collect(createStaticFinder({ hosts: texts, port }, watching), timeoutMs, signal),
    deps.localAgent?.(signal),
    ...domains.map((domain) => collect(createDnsFinder({ domain }, watching), timeoutMs, signal)),
  ]);
  const byHost = [ofHosts, ...ofDomains].flatMap(({ agents }) => agents);
  const agents = [...new Map([...byHost, ...byGroup.agents].map((one) => [one.agentId, one])).values()];
  const findings = [
    ...interfaceFindings(chosen, options, byGroup.failure),
    ...sendFindings(events),
    ...versionFindings(events),
    ...forgeryFindings(events),
    ...localFindings(agents, interfaces, localAgent, port),
    ...groupFindings(byGroup.agents, byHost, chosen, port),
    ...ofDomains.flatMap(({ failure }) => domainFindings(failure)),
    ...(await hostFindings(hosts, events, timeoutMs, signal)),
    ...(await tcpFindings(agents, timeoutMs, signal)),
    ...pairingFindings(agents, deps),
  ];
  if (agents.length === 0 && findings.length === 0) {
    findings.push({
      code: 'NOTHING_ANSWERS',
      message: `Requests went out on ${linksText(chosen)} to UDP port ${port}, and no agent answered.`,
      advice:
        'See that an agent with [herd] enabled runs in one of these networks, and that its firewall lets UDP in on that port. ' +
        'Name its host with --agent to learn more.',
    });
  }
  return { agents, findings };
}

async function collect(
  finder: AgentFinder,
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<{ readonly agents: readonly FoundAgent[]; readonly failure: unknown }> {
  const agents = new Map<string, FoundAgent>();
  try {
    for await (const agent of finder.find({ timeoutMs, signal })) agents.set(agent.agentId, agent);
    return { agents: [...agents.values()], failure: undefined };
  } catch (failure) {
    return { agents: [...agents.values()], failure };
  }
}

function interfaceFindings(
  chosen: readonly InterfaceAddress[],
  { interfaces: names }: DiagnoseOptions,
  failure: unknown,
): readonly Finding[] {
  const missing = (names ?? []).filter((name) => !chosen.some((one) => one.name === name));
  if (missing.length > 0) {
    const message = `This machine has no interface ${missing.join(', ')} that is up and has an address.`;
    return [{ code: 'NO_INTERFACE', message, advice: 'Name one that is, or leave --interface out.' }];
  }
  const outside = chosen.filter(({ internal }) => !internal);
  if (outside.length === 0 && names === undefined) {
    return [
      {
        code: 'NO_INTERFACE',
        message: 'No interface but loopback is up: this machine is in no network.',
        advice: 'Connect it, or bring its interface up; agents of this machine itself are found all the same.',
      },
    ];
  }
  if (outside.length > 0 && lanTargets(outside, {}).length === 0) {
    return [
      {
        code: 'NO_BROADCAST',
        message: `None of ${linksText(outside)} has a broadcast address or IPv6: they are links to one peer each, such as a VPN.`,
        advice: 'Name the agents’ hosts with --agent, or a domain that lists them with --dns.',
      },
    ];
  }
  if (failure === undefined || isDroverError(failure, 'DISCOVERY_NOT_SENT')) return [];
  return [
    {
      code: 'CANNOT_LOOK',
      message: `This machine cannot look for agents: ${messageOf(failure)}`,
      advice: 'Put that right first.',
    },
  ];
}

function sendFindings(events: readonly SearchEvent[]): readonly Finding[] {
  const notSent = events.filter((event) => event.type === 'not-sent');
  return [...new Map(notSent.map((event) => [`${event.to} ${event.code}`, event])).values()]
    .slice(0, triedMax)
    .map(({ to, link, code }) => {
      const where = `${to}${link === undefined ? '' : ` on ${link}`}`;
      const isForbidden = code === 'EPERM' || code === 'EACCES';
      return {
        code: isForbidden ? 'SEND_FORBIDDEN' : 'SEND_FAILED',
        message: `This machine does not send to ${where}: ${code}.`,
        advice: isForbidden
          ? 'A firewall of this machine, or its sandbox, forbids it: allow UDP out to that port, broadcasts included.'
          : 'The interface has no way there now: see its address and its routes, or leave it out with --interface.',
      };
    });
}

function versionFindings(events: readonly SearchEvent[]): readonly Finding[] {
  const others = events.filter((event) => event.type === 'other-version');
  return [...new Map(others.map((event) => [event.agentId, event])).values()]
    .slice(0, triedMax)
    .map(({ name, from, version, protocolNewest }) => ({
      code: 'VERSION_MISMATCH',
      message: `${name} (${from}) runs Drover ${version}, whose herd protocol, up to version ${protocolNewest}, has none in common with this program’s.`,
      advice: 'Upgrade the older of the two.',
    }));
}

function forgeryFindings(events: readonly SearchEvent[]): readonly Finding[] {
  const dropped = (...reasons: readonly string[]): readonly string[] => [
    ...new Set(
      events.flatMap((event) => (event.type === 'dropped' && reasons.includes(event.reason) ? event.from : [])),
    ),
  ];
  const [forged, conflicting, other] = [
    dropped('forged'),
    dropped('conflicting'),
    dropped('malformed', 'too-large', 'unasked', 'too-many'),
  ];
  return [
    ...(forged.length === 0
      ? []
      : [
          {
            code: 'FORGED_REPLIES',
            message: `Replies from ${listText(forged)} were dropped: another key signed them than the one that this client, or the reply itself, names.`,
            advice:
              'If that agent was installed anew, pair with it again. If not, somebody in this network imitates it.',
          },
        ]),
    ...(conflicting.length === 0
      ? []
      : [
          {
            code: 'AGENT_ID_TWICE',
            message: `An agent of ${listText(conflicting)} has the id of another one, with a key of its own.`,
            advice: 'Give each agent an id and a state folder of its own: a copied machine has both of the first one.',
          },
        ]),
    ...(other.length === 0
      ? []
      : [
          {
            code: 'STRANGE_REPLIES',
            message: `What came from ${listText(other)} is no reply to a question of this program.`,
            advice: 'See what listens on that port there; --port names another.',
          },
        ]),
  ];
}

function localFindings(
  agents: readonly FoundAgent[],
  interfaces: readonly InterfaceAddress[],
  localAgent: string | undefined,
  port: number,
): readonly Finding[] {
  const own = new Set(interfaces.map(({ address }) => address));
  const isHere = agents.some(({ addresses }) => addresses.some(({ host }) => own.has(host.split('%')[0]!)));
  if (localAgent === undefined || isHere) return [];
  return [
    {
      code: 'HERD_DISABLED',
      message: `An agent runs on this machine (${localAgent}), and it does not answer on UDP port ${port}.`,
      advice: 'Set enabled = true in [herd] of its configuration, or --port to the one that it was given.',
    },
  ];
}

function groupFindings(
  byGroup: readonly FoundAgent[],
  byHost: readonly FoundAgent[],
  chosen: readonly InterfaceAddress[],
  port: number,
): readonly Finding[] {
  const unheard = byHost.filter(({ agentId }) => !byGroup.some((one) => one.agentId === agentId));
  return unheard.slice(0, triedMax).map(({ name, addresses }) => {
    const { host } = addresses[0]!;
    const near = chosen.find((one) => isInNetwork(host, one));
    return near === undefined
      ? {
          code: 'OTHER_SUBNET',
          message: `${name} answers at ${host} when it is asked itself; it is in another network, which broadcasts do not reach.`,
          advice: 'Go on naming it with --agent, or list it in DNS and use --dns.',
        }
      : {
          code: 'BROADCAST_BLOCKED',
          message: `${name} answers at ${host} when it is asked itself, and not to the broadcast on ${near.name}, the network that it is in.`,
          advice: `A firewall drops the broadcast there, or here the replies to it: allow UDP in on port ${port} there, and UDP from port ${port} here.`,
        };
  });
}

function domainFindings(failure: unknown): readonly Finding[] {
  if (failure === undefined) return [];
  const code = isDroverError(failure) ? failure.code : 'DNS_UNAVAILABLE';
  const advice =
    code === 'DNS_NO_RECORD'
      ? 'Add a record for each agent, e.g. "_drover-herd._udp IN SRV 0 0 7614 build-7", or name hosts with --agent.'
      : 'See the name, and the name servers of this machine.';
  return [{ code, message: messageOf(failure), advice }];
}

/** True if an IPv4 address is one of the interface's network. */
function isInNetwork(host: string, one: InterfaceAddress): boolean {
  const whole = broadcastAddress(one);
  return whole !== undefined && /^[\d.]+$/.test(host) && broadcastAddress({ ...one, address: host }) === whole;
}

async function hostFindings(
  hosts: readonly AgentHost[],
  events: readonly SearchEvent[],
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<readonly Finding[]> {
  const unresolved = events.flatMap((event) => (event.type === 'unresolved' ? [event] : []));
  const silent = hosts.filter(({ host }) => events.some((event) => event.type === 'silent' && event.host === host));
  const asked = await Promise.all(
    silent.slice(0, triedMax).map(async ({ host, port }) => {
      const [tcp, udp] = await Promise.all([probeTcp(host, port, timeoutMs, signal), probeUdp(host, port, timeoutMs)]);
      return silenceFinding(host, port, tcp, udp);
    }),
  );
  return [
    ...unresolved.slice(0, triedMax).map(({ host, code }) => ({
      code: 'HOST_UNKNOWN',
      message: `${host} has no address: ${code}.`,
      advice: 'See how it is spelt, or name its address.',
    })),
    ...asked,
  ];
}

function silenceFinding(host: string, port: number, tcp: PortState, udp: PortState): Finding {
  if (tcp === 'open') {
    return {
      code: 'UDP_BLOCKED',
      message: `${host} takes connections on TCP port ${port}, and does not answer on UDP port ${port}.`,
      advice:
        udp === 'refused'
          ? 'Nothing listens there by UDP: see enabled and discovery in [herd] of its agent, and that it is one.'
          : `Allow UDP in on port ${port} in its firewall and in those on the way.`,
    };
  }
  if (tcp === 'refused' || udp === 'refused') {
    return {
      code: 'NO_AGENT_THERE',
      message: `${host} is there, and nothing listens on its port ${port}.`,
      advice: 'Start the agent with [herd] enabled, or name its port: --agent HOST:PORT.',
    };
  }
  return {
    code: 'HOST_UNREACHABLE',
    message: `Nothing comes back from ${host}, neither by UDP nor by TCP on port ${port}.`,
    advice: 'The machine is off, or a firewall on the way drops everything to that port.',
  };
}

async function tcpFindings(
  agents: readonly FoundAgent[],
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<readonly Finding[]> {
  const tried = await Promise.all(
    agents.slice(0, triedMax).map(async ({ name, addresses }) => {
      const states = await Promise.all(addresses.map(({ host, port }) => probeTcp(host, port, timeoutMs, signal)));
      if (states.includes('open')) return [];
      const at = addresses.map(({ host, port }) => (host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`));
      return [
        {
          code: 'TCP_BLOCKED',
          message: `${name} is found, and takes no connection at ${listText(at)}: ${states[0] ?? ''}.`,
          advice:
            states[0] === 'refused'
              ? 'See that its herd service listens at an address that others reach, not on loopback alone.'
              : 'Allow TCP in on that port in its firewall and in those on the way.',
        },
      ];
    }),
  );
  return tried.flat();
}

function pairingFindings(agents: readonly FoundAgent[], { knownAgents }: DiagnoseDeps): readonly Finding[] {
  if (knownAgents === undefined || agents.length === 0 || agents.some(({ trusted }) => trusted)) return [];
  return [
    {
      code: 'NOT_PAIRED',
      message: `Agents are found, and this client is paired with none of them: they take no jobs from it.`,
      advice: 'Run "drover herd code" on the agent’s machine, and "drover herd pair" here.',
    },
  ];
}

function linksText(addresses: readonly InterfaceAddress[]): string {
  return listText([...new Set(addresses.map(({ name }) => name))]);
}

function listText(items: readonly string[]): string {
  return items.length <= 4 ? items.join(', ') : `${items.slice(0, 4).join(', ')} and ${items.length - 4} more`;
}
