import { create } from '@bufbuild/protobuf';
import { anyPack, durationFromMs } from '@bufbuild/protobuf/wkt';
import { bundleFor, decideRollout, rolloutGroup, type RolloutDecision } from '@drover/agent-rollouts';
import { digestToWire, type BlobPins } from '@drover/content-store';
import {
  isDroverError,
  silentLogger,
  systemClock,
  type Clock,
  type Logger,
  type Principal,
  type ScheduledCall,
} from '@drover/lease-kit';
import { BlobDigestSchema } from '@drover/lease-protocol';
import type { DroverStore, RolloutChange, RolloutRecord, StoreContext } from '@drover/lease-store';
import { readRolloutAgents, upgradeSourceName, type ChannelAgent } from '@drover/task-sources';
import { UpgradeSchema, type Upgrade } from '../gen/drover/upgrade/v1/upgrade_pb.ts';

/** What roll-outs are conducted with. */
export interface RolloutConductorDeps {
  readonly store: Pick<DroverStore, 'rollouts' | 'sessions' | 'agentTasks' | 'agentSettings' | 'signals'>;
  /** Keeps bundles from being removed while a channel wants them. */
  readonly blobs: BlobPins;
  /** Default: that of the process. */
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** How often a conductor looks, in ms. */
export interface RolloutConductorOptions {
  /** While a roll-out is rolling. Default 5 s. */
  readonly pollMs?: number;
  /** While none is: for agents that come late. Default 30 s. */
  readonly idlePollMs?: number;
}

const channelsMax = 256;
/** Changes of one pass: each ring is one or two, so that small fleets need not wait for the poll. */
const roundsMax = 50;
const wantMax = 1_000;
const pinMs = 7 * 86_400_000;
const pinAgainMs = 3_600_000;

/**
 * Carries roll-outs forward: it looks at the whole present state again and again and does what `decideRollout` says. Every
 * server runs one; they do each other no harm, since a change of a roll-out names the revision that it was decided from, and the
 * cap on upgrades at once is counted where tasks are bound.
 */
export class RolloutConductor implements AsyncDisposable {
  readonly #deps: RolloutConductorDeps;
  readonly #options: Required<RolloutConductorOptions>;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #principal: Principal = { kind: 'service', id: 'upgrade-conductor' };
  readonly #stop = new AbortController();
  readonly #pinnedAtMs = new Map<string, number>();
  #timer: ScheduledCall | undefined;
  #unlisten: (() => void) | undefined;
  #running: Promise<void> | undefined;
  #again = false;

  constructor(deps: RolloutConductorDeps, options: RolloutConductorOptions = {}) {
    this.#deps = deps;
    this.#options = { pollMs: 5_000, idlePollMs: 30_000, ...options };
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
  }

  /** Begins to look. */
  start(): void {
    this.#unlisten = this.#deps.store.signals.listen((signal) => {
      if (signal.kind === 'resync' || (signal.kind === 'work' && signal.source === upgradeSourceName)) this.wake();
    });
    this.wake();
  }

  /** Looks now; once more if it is looking. */
  wake(): void {
    if (this.#stop.signal.aborted) return;
    this.#again = true;
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    this.#unlisten?.();
    this.#timer?.cancel();
    await this.#running;
    this.#timer?.cancel();
  }

  async #run(): Promise<void> {
    let nextMs = this.#options.pollMs;
    for (let round = 0; this.#again && round < roundsMax; round += 1) {
      this.#again = false;
      try {
        nextMs = await this.#pass();
      } catch (error) {
        if (this.#stop.signal.aborted) return;
        this.#logger.warn({ err: error }, 'could not look after the roll-outs');
      }
    }
    if (this.#stop.signal.aborted) return;
    this.#timer?.cancel();
    this.#timer = this.#clock.schedule(nextMs, () => this.wake());
  }

  /** Looks at every roll-out; answers how long it may be before it looks again. */
  async #pass(): Promise<number> {
    const { store } = this.#deps;
    const rollouts = await store.rollouts.rollouts({ limit: channelsMax }, this.#context());
    if (rollouts.length === 0) return this.#options.idlePollMs;
    const agents = await readRolloutAgents(store, rollouts, this.#context());
    let nextMs = this.#options.idlePollMs;
    for (const rollout of rollouts) {
      const members = agents.get(rollout.channel) ?? [];
      await this.#carryOut(rollout, members, decideRollout(rollout, members));
      // After what may have to be halted: a content store that is away must not keep a roll-out going.
      await this.#keepBundles(rollout);
      if (rollout.state !== 'rolling') continue;
      const { ringDoneForMs, soakMs } = rollout;
      const soaksForMs = ringDoneForMs === undefined ? Infinity : Math.max(1, soakMs - ringDoneForMs);
      nextMs = Math.min(nextMs, this.#options.pollMs, soaksForMs);
    }
    return nextMs;
  }

  async #carryOut(rollout: RolloutRecord, agents: readonly ChannelAgent[], decision: RolloutDecision): Promise<void> {
    const { store } = this.#deps;
    // First, so that nobody begins meanwhile.
    if (decision.change !== undefined) await this.#change(rollout, decision.change);
    if (decision.withdraw.length > 0) {
      const keys = decision.withdraw.slice(0, wantMax).map((agentId) => ({ source: upgradeSourceName, agentId }));
      await store.agentTasks.withdraw(keys, `the roll-out of ${rollout.version} is halted`, this.#context());
      store.signals.announce({ kind: 'work', source: upgradeSourceName });
    }
    if (decision.upgrade.length === 0) return;
    const platforms = new Map(agents.map(({ agentId, platform }) => [agentId, platform]));
    const wishes = decision.upgrade.slice(0, wantMax).map((agentId) => ({
      source: upgradeSourceName,
      agentId,
      payload: anyPack(UpgradeSchema, upgradeOf(rollout, platforms.get(agentId)!)),
      group: { name: rolloutGroup(rollout.rolloutId), max: rollout.atOnceMax },
      endsBackOff: true,
    }));
    const wanted = await store.agentTasks.want(wishes, this.#context());
    if (wanted.some(({ result }) => result === 'wanted' || result === 'replaced')) {
      store.signals.announce({ kind: 'work', source: upgradeSourceName });
    }
  }

  async #change({ channel, revision, version }: RolloutRecord, change: RolloutChange): Promise<void> {
    const { store } = this.#deps;
    try {
      const { state, ring } = await store.rollouts.changeRollout(channel, revision, change, this.#context());
      const reason = change.kind === 'halt' ? { code: change.reason.code, reason: change.reason.message } : {};
      const level = change.kind === 'halt' ? 'warn' : 'info';
      this.#logger[level]({ channel, version, state, ring, ...reason }, `roll-out: ${change.kind}`);
      store.signals.announce({ kind: 'work', source: upgradeSourceName });
    } catch (error) {
      // Another server was faster; the next look sees what it did.
      if (!isDroverError(error, 'ROLLOUT_CHANGED') && !isDroverError(error, 'ROLLOUT_STATE')) throw error;
    }
    this.#again = true;
  }

  async #keepBundles({ channel, rolloutId, bundles, previous }: RolloutRecord): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - (this.#pinnedAtMs.get(rolloutId) ?? -Infinity) < pinAgainMs) return;
    const digests = [...bundles, ...(previous?.bundles ?? [])].map(({ hash, sizeBytes }) => ({ hash, sizeBytes }));
    let missing: readonly { readonly hash: string }[];
    try {
      missing = await this.#deps.blobs.pin(digests, { owner: rolloutGroup(rolloutId), expiresAfterMs: pinMs });
    } catch (error) {
      this.#logger.warn({ channel, err: error }, 'bundles of a channel could not be pinned; tried again soon');
      return;
    }
    if (missing.length > 0) {
      this.#logger.warn(
        { channel, missing: missing.map(({ hash }) => hash) },
        'bundles of a channel are not in the store',
      );
    }
    this.#pinnedAtMs.set(rolloutId, nowMs);
    // What it remembers is bounded by the channels; roll-outs that were replaced are forgotten.
    if (this.#pinnedAtMs.size > 2 * channelsMax) this.#pinnedAtMs.clear();
  }

  #context(): StoreContext {
    return { principal: this.#principal, signal: this.#stop.signal };
  }
}

function upgradeOf(rollout: RolloutRecord, platform: string): Upgrade {
  const { hash, sizeBytes, signature } = bundleFor(rollout, platform)!;
  return create(UpgradeSchema, {
    version: rollout.version,
    bundle: create(BlobDigestSchema, digestToWire({ hash, sizeBytes })),
    signature,
    healthyWithin: durationFromMs(rollout.healthyWithinMs),
    allowDowngrade: rollout.allowDowngrade,
    channel: rollout.channel,
    rolloutId: rollout.rolloutId,
  });
}
