import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { FoundAgent } from '@drover/herd-protocol';
import type { HostRequest } from './lan-host.test.child.ts';

const run = promisify(execFile);
const isRoot = process.getuid?.() === 0;
/** Into the namespaces of a process; as an ordinary user into the user namespace that owns them as well. */
const enter = (pid: number): readonly string[] => [
  'nsenter',
  ...['--target', String(pid), '--net'],
  ...(isRoot ? [] : ['--user', '--preserve-credentials']),
];

/** A process in a network namespace of its own. */
export interface TestHost {
  readonly name: string;
  /** Runs `ip` there. */
  ip(command: string): Promise<string>;
  tc(command: string): Promise<string>;
  call(request: HostRequest): Promise<unknown>;
  find(request?: {
    readonly timeoutMs?: number;
    readonly interfaces?: readonly string[];
  }): Promise<readonly FoundAgent[]>;
}

/** A switch with hosts around it, in namespaces that nothing connects with this machine. They go with their processes. */
export interface TestNetwork extends AsyncDisposable {
  /** Runs `ip` on the switch. */
  ip(command: string): Promise<string>;
  /** Adds a host with a card `eth0`, `eth1`, … for each of `cards`: which LAN it is in, and its number there. */
  host(name: string, cards: readonly TestCard[]): Promise<TestHost>;
  /** Adds a card to a host that is there. */
  plug(host: TestHost, index: number, card: TestCard): Promise<void>;
  /** Frames of this card are dropped by the switch, or not any more; the card itself sees nothing of that. */
  lose(host: TestHost, index: number, lan: TestCard['lan'], loses: boolean): Promise<void>;
}

export interface TestCard {
  readonly lan: 'a' | 'b';
  readonly number: number;
}

const networks = { a: '10.91.1', b: '10.91.2' };

/** Makes the switch. A text says why this machine lets nobody make one. */
export async function openTestNetwork(): Promise<TestNetwork | string> {
  const missing = await missingPart();
  if (missing !== undefined) return missing;
  // It ends with its standard input, so with this process too, however that ends.
  const flags = isRoot ? ['--net'] : ['--user', '--map-root-user', '--net'];
  const holder = spawn('unshare', [...flags, 'cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
  holder.stdin.write('.');
  await once(holder.stdout, 'data');
  const pid = holder.pid!;
  const inside = async (of: number, program: string, command: string): Promise<string> => {
    const [first, ...rest] = [...enter(of), program, ...command.split(' ')];
    return (await run(first!, rest)).stdout;
  };
  const ip = (command: string): Promise<string> => inside(pid, 'ip', command);
  const processes: ChildProcess[] = [];
  const pids = new Map<TestHost, number>();

  const network: TestNetwork = {
    ip,
    async host(name, cards) {
      const entry = fileURLToPath(new URL('lan-host.test.child.ts', import.meta.url));
      const [first, ...rest] = [
        ...enter(pid),
        ...['unshare', '--net', process.execPath, '--conditions=@drover/source', '--no-warnings', entry],
      ];
      const child = spawn(first!, rest, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], serialization: 'advanced' });
      processes.push(child);
      await once(child, 'message');
      const call = async (request: HostRequest): Promise<unknown> => {
        const answered = once(child, 'message') as Promise<[{ result?: unknown; error?: string }]>;
        child.send(request);
        const [{ result, error }] = await answered;
        if (error !== undefined) throw new Error(`${name}: ${error}`);
        return result;
      };
      const host: TestHost = {
        name,
        ip: (command) => inside(child.pid!, 'ip', command),
        tc: (command) => inside(child.pid!, 'tc', command),
        call,
        find: async (request = {}) => (await call({ do: 'find', ...request })) as readonly FoundAgent[],
      };
      pids.set(host, child.pid!);
      await host.ip('link set lo up');
      for (const [index, card] of cards.entries()) await network.plug(host, index, card);
      return host;
    },
    async plug(host, index, { lan, number }) {
      const port = `${host.name}-${index}`;
      await ip(`link add name ${port} type veth peer name eth${index} netns ${pids.get(host)!}`);
      await ip(`link set ${port} master lan-${lan} up`);
      // Without waiting for who else might have the address.
      await host.ip(`link set eth${index} addrgenmode none`);
      await host.ip(`address add ${networks[lan]}.${number}/24 broadcast + dev eth${index}`);
      await host.ip(`address add fe80::${lan}:${number}/64 dev eth${index} nodad`);
      await host.ip(`link set eth${index} up`);
    },
    lose: async (host, index, lan, loses) =>
      // A port of no bridge leads nowhere.
      void (await ip(`link set ${host.name}-${index} ${loses ? 'nomaster' : `master lan-${lan}`}`)),
    async [Symbol.asyncDispose]() {
      for (const child of processes) child.disconnect();
      await Promise.all(processes.map((child) => child.exitCode ?? once(child, 'exit')));
      holder.stdin.end();
      await once(holder, 'exit');
    },
  };
  for (const lan of ['a', 'b']) {
    await ip(`link add name lan-${lan} type bridge`);
    await ip(`link set lan-${lan} up`);
  }
  return network;
}

async function missingPart(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'network namespaces are Linux’s';
  const user = isRoot ? [] : ['--user', '--map-root-user'];
  const attempt = [
    '--net',
    'sh',
    '-c',
    'ip link add name lan type bridge && ip link add name card type veth peer name port',
  ];
  try {
    await run('unshare', [...user, ...attempt]);
    return undefined;
  } catch (error) {
    const { stderr, message } = error as Error & { readonly stderr?: string };
    return `no network namespaces here: ${(stderr ?? message).trim().split('\n')[0] ?? ''}`;
  }
}
