import { create } from '@bufbuild/protobuf';
import { anyPack, anyUnpack } from '@bufbuild/protobuf/wkt';
import type { Clock, Logger, Principal, ScheduledCall } from '@drover/lease-kit';
import {
  workspaceLimits,
  workspaceSetDigest,
  workspacesOf,
  type AgentRecord,
  type AgentTaskRecord,
  type AgentTaskWish,
  type DroverStore,
  type StoreContext,
  type WorkspaceRecord,
} from '@drover/lease-store';
import { conformSourceName } from '../asked-conform.ts';
import { ConformCause, ConformSchema, ConformWishSchema } from '../gen/drover/conform/v1/conform_pb.ts';
import { decideConform, type ConformDecision } from './decide-conform.ts';

/** What a {@link ConformKeeper} works with. */
export interface ConformKeeperDeps extends Pick<DroverStore, 'workspaces' | 'agentTasks' | 'sessions' | 'signals'> {
  /** Names of the pools that an agent is in. */
  readonly poolsOf: (agent: AgentRecord) => readonly string[];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** When a keeper looks, and what it asks for. */
export interface ConformKeeperOptions {
  readonly intervalMs?: number;
  readonly removesOthers: boolean;
  readonly pollMs: number;
}

const pageSize = 1_000;
/** Agents beyond are not looked at: 100 pages of 1,000. */
const pagesMax = 100;
const wantMax = 1_000;
/** Changes that come together are looked at together. */
const settleMs = 50;

/**
 * Wants agents to conform that nobody asks to: because the set of their workspaces is not that which they last conformed to, or
 * because the interval has passed. What an agent last conformed to stands in the record of its task. Every server runs one; they
 * want the same, and wanting the same again changes nothing.
 */
export class ConformKeeper implements AsyncDisposable {
  readonly #deps: ConformKeeperDeps;
  readonly #options: ConformKeeperOptions;
  readonly #principal: Principal = { kind: 'service', id: 'conform-keeper' };
  readonly #stop = new AbortController();
  #workspaces: readonly WorkspaceRecord[] = [];
  #unlisten: (() => void) | undefined;
  #timer: ScheduledCall | undefined;
  #running: Promise<void> | undefined;
  #isSoon = false;

  constructor(deps: ConformKeeperDeps, options: ConformKeeperOptions) {
    this.#deps = deps;
    this.#options = options;
  }

  /** Begins to look; idempotent. */
  start(): void {
    if (this.#unlisten !== undefined) return;
    this.#unlisten = this.#deps.signals.listen((signal) => {
      const concerns = signal.kind === 'work' && signal.source === conformSourceName;
      if (concerns || signal.kind === 'resync' || signal.kind === 'settings') this.wake();
    });
    this.wake();
  }

  /** Looks soon. */
  wake(): void {
    if (this.#stop.signal.aborted || this.#isSoon) return;
    this.#isSoon = true;
    if (this.#running === undefined) this.#schedule(settleMs);
  }

  /** The workspaces that an agent of these pools keeps, as they were when they were last read. */
  workspacesOf(pools: readonly string[]): readonly WorkspaceRecord[] {
    return workspacesOf(this.#workspaces, pools);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#unlisten?.();
    this.#timer?.cancel();
    await this.#running;
  }

  #schedule(afterMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#deps.clock.schedule(afterMs, () => {
      this.#isSoon = false;
      this.#running = this.#pass().finally(() => {
        this.#running = undefined;
        if (!this.#stop.signal.aborted) this.#schedule(this.#isSoon ? settleMs : this.#options.pollMs);
      });
    });
  }

  async #pass(): Promise<void> {
    try {
      const { workspaces, signals } = this.#deps;
      const read = await workspaces.workspaces({ limit: workspaceLimits.workspacesMax }, this.#context());
      const isOther = workspaceSetDigest(read) !== workspaceSetDigest(this.#workspaces);
      this.#workspaces = read;
      const wanted = await this.#want(await this.#records());
      // Tasks that waited for the set to be read are planned again.
      if (wanted || isOther) signals.announce({ kind: 'work', source: conformSourceName });
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      this.#deps.logger.warn({ err: error }, 'could not look which agents are to conform');
    }
  }

  async #records(): Promise<ReadonlyMap<string, AgentTaskRecord>> {
    const records = new Map<string, AgentTaskRecord>();
    let after: AgentTaskRecord | undefined;
    for (let page = 0; page < pagesMax; page += 1) {
      const found = await this.#deps.agentTasks.list(
        { source: conformSourceName, limit: pageSize, ...(after === undefined ? {} : { after }) },
        this.#context(),
      );
      for (const record of found) records.set(record.agentId, record);
      if (found.length < pageSize) break;
      after = found.at(-1)!;
    }
    return records;
  }

  /** True if anything is wanted that was not. */
  async #want(records: ReadonlyMap<string, AgentTaskRecord>): Promise<boolean> {
    const { sessions, agentTasks } = this.#deps;
    if (this.#workspaces.length === 0 && records.size === 0) return false;
    let isNew = false;
    let after: string | undefined;
    for (let page = 0; page < pagesMax; page += 1) {
      const agents = await sessions.agents(
        { limit: pageSize, ...(after === undefined ? {} : { after }) },
        this.#context(),
      );
      const wishes = agents.flatMap((agent) => this.#wishFor(agent, records.get(agent.agentId)) ?? []);
      for (let from = 0; from < wishes.length; from += wantMax) {
        const wanted = await agentTasks.want(wishes.slice(from, from + wantMax), this.#context());
        isNew ||= wanted.some(({ result }) => result === 'wanted' || result === 'replaced');
      }
      if (agents.length < pageSize) break;
      after = agents.at(-1)!.agentId;
    }
    return isNew;
  }

  #wishFor(agent: AgentRecord, record: AgentTaskRecord | undefined): AgentTaskWish | undefined {
    const { agentId, session, description } = agent;
    if (session === undefined || !description.payloadTypes.includes(ConformSchema.typeName)) return undefined;
    const workspaces = this.workspacesOf(this.#deps.poolsOf(agent));
    const setDigest = workspaceSetDigest(workspaces);
    const { intervalMs, removesOthers } = this.#options;
    const wish = record === undefined ? undefined : anyUnpack(record.payload, ConformWishSchema);
    const decision = decideConform({
      setDigest,
      workspaces: workspaces.length,
      removesOthers,
      nowMs: this.#deps.clock.wallMs(),
      ...(record === undefined ? {} : { record }),
      ...(wish === undefined ? {} : { wish }),
      ...(intervalMs === undefined ? {} : { intervalMs }),
    });
    if (decision === undefined) return undefined;
    const said = { cause: causes[decision.cause], setDigest, clean: decision.clean };
    return { source: conformSourceName, agentId, payload: anyPack(ConformWishSchema, create(ConformWishSchema, said)) };
  }

  #context(): StoreContext {
    return { principal: this.#principal, signal: this.#stop.signal };
  }
}

const causes: Readonly<Record<ConformDecision['cause'], ConformCause>> = {
  interval: ConformCause.INTERVAL,
  'set-changed': ConformCause.SET_CHANGED,
};
