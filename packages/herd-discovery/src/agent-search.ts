import type { AgentAnnouncement, DiscoveryReply, FindOptions, FoundAgent } from '@drover/herd-protocol';
import {
  DroverError,
  messageOf,
  silentMeter,
  systemClock,
  type Clock,
  type Counter,
  type ScheduledCall,
} from '@drover/lease-kit';
import { randomBytes } from 'node:crypto';
import type { RemoteInfo, Socket } from 'node:dgram';
import { checkReply, readAnnouncement } from './check-reply.ts';
import { datagramSizeBytesMax, decodeReply, encodeRequest, spreadMsMax } from './discovery-wire.ts';
import type { FinderDeps } from './finder-deps.ts';
import { isSameAddress, mergeFoundAgents } from './merge-found-agents.ts';
import type { DropReason, SearchEvent } from './search-events.ts';
import { openUdpSocket } from './udp-socket.ts';

/** Somewhere to send a request to. */
export interface AskTarget {
  readonly family: 4 | 6;
  /** Address of a group or of a machine, with its zone where it has one. */
  readonly to: string;
  readonly port: number;
  /** The interface that it leaves by, where that is known. */
  readonly link?: string | undefined;
  /** The host that is meant, as it was asked for; absent for groups, whose members are reached where they answer from. */
  readonly host?: string | undefined;
}

/** Names whom to ask, as that becomes known; it is done when it returns. */
export type Targets = (ask: (targets: readonly AskTarget[]) => void, signal: AbortSignal) => Promise<void>;

/** A request under way. */
interface Asked {
  readonly target: AskTarget;
  readonly atMs: number;
}

interface Received {
  readonly reply: DiscoveryReply;
  readonly asked: Asked;
  readonly from: string;
  readonly atMs: number;
}

const timeoutMsDefault = 1_000;
/** When requests are sent again, as shares of the time: what was lost is asked for again, and the last has time to be answered. */
const rounds = [0, 0.1, 0.25, 0.45, 0.7];
export const agentsMax = 10_000;
export const targetsMax = 512;
/** Replies that wait to be checked, and that are remembered to tell the second of one. */
const backlogMax = 8_192;
const seenMax = 100_000;
/** Replies that are checked before sockets are read again, so that none overflows meanwhile. */
const checkedAtOnce = 8;
/** How much longer than its time a search may take to check what has arrived. */
const lastMsMax = 200;
/** With more agents than this, they are told to spread their answers. */
const spreadFrom = 64;

/** One search: asks, asks again, and merges what is answered. Sockets and timers are gone when its iterator has ended. */
export async function* searchAgents(
  targets: Targets,
  options: FindOptions | undefined,
  deps: FinderDeps,
  bounds = { agentsMax },
): AsyncGenerator<FoundAgent, void, undefined> {
  const search = new AgentSearch(options, deps, bounds.agentsMax);
  try {
    yield* search.run(targets);
  } finally {
    await search.close();
  }
}

class AgentSearch {
  readonly #deps: FinderDeps;
  readonly #clock: Clock;
  readonly #counter: Counter;
  readonly #timeoutMs: number;
  readonly #agentsMax: number;
  readonly #stop = new AbortController();
  readonly #signal: AbortSignal | undefined;
  readonly #sockets = new Map<4 | 6, Promise<Socket>>();
  readonly #targets: AskTarget[] = [];
  /** Requests by nonce. */
  readonly #asked = new Map<string, Asked>();
  readonly #seen = new Set<string>();
  readonly #answered = new Set<AskTarget>();
  readonly #found = new Map<string, FoundAgent>();
  /** Agents of which more is known than was yielded. */
  readonly #news = new Set<string>();
  readonly #backlog: Received[] = [];
  readonly #timers = new Set<ScheduledCall>();
  readonly #notSent = new Map<string, string>();
  #sent = 0;
  #hasAllTargets = false;
  #isDraining = false;
  #failure: unknown;
  #wake = Promise.withResolvers<void>();

  constructor(options: FindOptions | undefined, deps: FinderDeps, max: number) {
    this.#deps = deps;
    this.#agentsMax = max;
    this.#clock = deps.clock ?? systemClock;
    this.#timeoutMs = options?.timeoutMs ?? timeoutMsDefault;
    this.#signal = options?.signal;
    this.#counter = (deps.meter ?? silentMeter).createCounter('drover_herd_discovery_replies_total', {
      description: 'Replies to searches for agents, by what became of them.',
    });
  }

  async *run(targets: Targets): AsyncGenerator<FoundAgent, void, undefined> {
    if (this.#isAborted()) return;
    const end = (): void => this.#end();
    this.#signal?.addEventListener('abort', end, { once: true });
    try {
      this.#after(this.#timeoutMs, () => this.#endWithTheLast());
      rounds.forEach((share, round) => {
        if (round > 0) this.#after(share * this.#timeoutMs, () => this.#askAll(round));
      });
      void targets((more) => this.#add(more), this.#stop.signal).then(
        () => {
          this.#hasAllTargets = true;
          this.#endIfAllAnswered();
        },
        (error: unknown) => {
          this.#failure = error;
          this.#end();
        },
      );
      for (;;) {
        for (const agentId of this.#news) {
          this.#news.delete(agentId);
          yield this.#found.get(agentId)!;
        }
        if (this.#stop.signal.aborted) break;
        await this.#wake.promise;
        this.#wake = Promise.withResolvers();
      }
      if (this.#failure !== undefined) throw this.#failure;
      if (!this.#isAborted()) this.#tellOfSilence();
    } finally {
      this.#signal?.removeEventListener('abort', end);
    }
  }

  async close(): Promise<void> {
    this.#end();
    for (const timer of this.#timers) timer.cancel();
    const sockets = await Promise.allSettled(this.#sockets.values());
    await Promise.all(
      sockets.map((one) =>
        one.status === 'fulfilled' ? new Promise<void>((resolve) => one.value.close(() => resolve())) : undefined,
      ),
    );
  }

  /**
   * The time is over. What had arrived by then counts, also on a machine too busy to have read it: sockets are read before
   * the next immediates run.
   */
  #endWithTheLast(): void {
    const untilMs = this.#clock.monotonicMs() + lastMsMax;
    const look = (): void => {
      if (this.#backlog.length === 0 || this.#clock.monotonicMs() >= untilMs) this.#end();
      else setImmediate(look);
    };
    setImmediate(look);
  }

  #isAborted(): boolean {
    return this.#signal?.aborted === true;
  }

  #end(): void {
    this.#stop.abort();
    this.#wake.resolve();
  }

  #after(delayMs: number, call: () => void): void {
    const timer = this.#clock.schedule(delayMs, () => {
      this.#timers.delete(timer);
      call();
    });
    this.#timers.add(timer);
  }

  #add(targets: readonly AskTarget[]): void {
    const room = targets.slice(0, targetsMax - this.#targets.length);
    this.#targets.push(...room);
    for (const target of room) void this.#ask(target, 0);
  }

  #askAll(round: number): void {
    const gapMs = ((rounds[round + 1] ?? 1) - rounds[round]!) * this.#timeoutMs;
    const spreadMs = this.#found.size > spreadFrom ? Math.min(spreadMsMax, Math.floor(gapMs * 0.8)) : 0;
    for (const target of this.#targets) if (!this.#answered.has(target)) void this.#ask(target, spreadMs);
  }

  async #ask(target: AskTarget, spreadMs: number): Promise<void> {
    const nonce = randomBytes(16);
    try {
      const socket = await this.#socket(target.family);
      if (this.#stop.signal.aborted) return;
      this.#asked.set(nonce.toString('latin1'), { target, atMs: this.#clock.monotonicMs() });
      await new Promise<void>((resolve, reject) => {
        socket.send(encodeRequest(nonce, spreadMs), target.port, target.to, (error) =>
          error ? reject(error) : resolve(),
        );
      });
      this.#sent += 1;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code ?? messageOf(error);
      // Said once; the next rounds try again.
      if (!this.#stop.signal.aborted && this.#notSent.get(target.to) !== code) {
        this.#notSent.set(target.to, code);
        this.#tell({ type: 'not-sent', to: target.to, link: target.link, code });
      }
    }
  }

  #socket(family: 4 | 6): Promise<Socket> {
    let opening = this.#sockets.get(family);
    if (opening === undefined) {
      opening = openUdpSocket({ host: family === 4 ? '0.0.0.0' : '::', port: 0, shared: false }).then((socket) => {
        if (family === 4) socket.setBroadcast(true);
        // As much as the kernel allows: many may answer at once.
        try {
          socket.setRecvBufferSize(4 * 1_024 * 1_024);
        } catch {
          // It stays as it comes.
        }
        socket.on('message', (datagram, from) => this.#receive(datagram, from));
        socket.on('error', (error) =>
          this.#deps.logger?.debug({ err: error }, 'the socket of a search reports an error'),
        );
        return socket;
      });
      this.#sockets.set(family, opening);
    }
    return opening;
  }

  #receive(datagram: Buffer, { address: from }: RemoteInfo): void {
    if (this.#stop.signal.aborted) return;
    if (datagram.length > datagramSizeBytesMax) return this.#drop('too-large', from);
    const reply = decodeReply(datagram);
    if (reply === undefined) return this.#drop('malformed', from);
    const asked = this.#asked.get(Buffer.from(reply.nonce).toString('latin1'));
    if (asked === undefined) return this.#drop('unasked', from);
    if (this.#backlog.length >= backlogMax) return this.#drop('too-many', from);
    this.#backlog.push({ reply, asked, from, atMs: this.#clock.monotonicMs() });
    if (this.#isDraining) return;
    this.#isDraining = true;
    setImmediate(() => this.#drain());
  }

  #drain(): void {
    for (const received of this.#backlog.splice(0, checkedAtOnce)) this.#consider(received);
    this.#isDraining = this.#backlog.length > 0 && !this.#stop.signal.aborted;
    if (this.#isDraining) setImmediate(() => this.#drain());
  }

  #consider(received: Received): void {
    const { reply, asked, from } = received;
    const announcement = readAnnouncement(reply);
    if (announcement === undefined) return this.#drop('malformed', from);
    const { agentId } = announcement;
    const key = `${Buffer.from(reply.nonce).toString('latin1')} ${agentId} ${from}`;
    if (this.#seen.has(key)) return this.#drop('replayed', from);
    if (this.#seen.size >= seenMax) return this.#drop('too-many', from);
    const host = asked.target.host ?? from;
    const before = this.#found.get(agentId);
    // It answers a later round: nothing new, so that nothing is checked and nothing believed.
    if (before !== undefined && before.addresses.some((one) => isSameAddress(one, { host, port: announcement.port }))) {
      return void this.#seen.add(key);
    }
    const path = { host, roundTripMs: received.atMs - asked.atMs };
    const checked = checkReply(reply, announcement, path, this.#deps.knownAgents);
    if (checked.kind === 'dropped') return this.#drop(checked.reason, from);
    // Only what is genuine is remembered, or a forged reply would keep the genuine one out.
    this.#seen.add(key);
    if (checked.kind === 'other-version') this.#tellOfVersion(checked.announcement, from);
    else if (!this.#keep(checked.agent, before))
      return this.#drop(before === undefined ? 'too-many' : 'conflicting', from);
    else this.#counter.add(1, { result: 'agent' });
    if (asked.target.host !== undefined) this.#answered.add(asked.target);
    this.#endIfAllAnswered();
  }

  #keep(agent: FoundAgent, before: FoundAgent | undefined): boolean {
    if (before === undefined && this.#found.size >= this.#agentsMax) return false;
    const merged = before === undefined ? agent : mergeFoundAgents(before, agent);
    if (merged === undefined) return false;
    this.#found.set(agent.agentId, merged);
    const isNews = before === undefined || merged.addresses.length > before.addresses.length;
    if (isNews) {
      this.#news.add(agent.agentId);
      this.#wake.resolve();
    }
    return true;
  }

  /** Groups may always hold one more; hosts that were named can all have answered. */
  #endIfAllAnswered(): void {
    if (!this.#hasAllTargets) return;
    const answered = new Set([...this.#answered].map(nameOf));
    if (this.#targets.every((target) => target.host !== undefined && answered.has(nameOf(target)))) this.#end();
  }

  #tellOfSilence(): void {
    if (this.#sent === 0 && this.#notSent.size > 0) {
      const failures = [...this.#notSent].map(([to, code]) => `${to}: ${code}`);
      throw new DroverError({
        code: 'DISCOVERY_NOT_SENT',
        advice: 'unavailable',
        message: `No agent could be asked, since this machine sends nothing: ${failures.slice(0, 4).join(', ')}.`,
      });
    }
    const answered = new Set([...this.#answered].map(nameOf));
    const silent = new Map(this.#targets.map((target) => [nameOf(target), target]));
    for (const [name, { host, port }] of silent) {
      if (host !== undefined && !answered.has(name)) this.#tell({ type: 'silent', host, port });
    }
  }

  #tellOfVersion({ agentId, name, version, protocolNewest }: AgentAnnouncement, from: string): void {
    this.#counter.add(1, { result: 'other-version' });
    this.#tell({ type: 'other-version', from, agentId, name, version, protocolNewest });
  }

  #drop(reason: DropReason, from: string): void {
    this.#counter.add(1, { result: reason });
    this.#tell({ type: 'dropped', reason, from });
  }

  #tell(event: SearchEvent): void {
    this.#deps.onEvent?.(event);
  }
}

/** One agent that was asked for: a machine may have several, each on a port of its own, and one of them several addresses. */
function nameOf({ host = '', port }: AskTarget): string {
  return `${host} ${port}`;
}
