import { create } from '@bufbuild/protobuf';
import { durationFromMs, durationMs, timestampFromMs, type Duration } from '@bufbuild/protobuf/wkt';
import type { ConnectRouter, HandlerContext } from '@connectrpc/connect';
import { changeFrom } from '@drover/access';
import { readBundleStatement } from '@drover/agent-bundles';
import { ringsOf, rolloutGroup, rolloutLimits, rolloutStanding, type RolloutBundle } from '@drover/agent-rollouts';
import type { BlobPins } from '@drover/content-store';
import {
  HaltRolloutResponseSchema,
  ListRolloutAgentsResponseSchema,
  ListRolloutsResponseSchema,
  ResumeRolloutResponseSchema,
  RollBackRolloutResponseSchema,
  RolloutAgentSchema,
  RolloutAgentState,
  RolloutBundleSchema,
  RolloutCountSchema,
  RolloutSchema,
  RolloutState,
  StartRolloutResponseSchema,
  UpgradeService,
  type ListRolloutAgentsRequest,
  type ListRolloutAgentsResponse,
  type Rollout,
  type StartRolloutRequest,
} from '@drover/control-api';
import { DroverError, type Principal } from '@drover/lease-kit';
import {
  rolloutNotFound,
  type DroverStore,
  type RolloutChange,
  type RolloutDraft,
  type RolloutRecord,
  type StoreContext,
} from '@drover/lease-store';
import { connectErrorFrom } from '@drover/rpc-errors';
import { readRolloutAgents, upgradeSourceName, type ChannelAgent } from '@drover/task-sources';
import { randomUUID } from 'node:crypto';
import { idFromPageToken, inputInvalid, pageSizeOf, pageTokenOf } from './input-errors.ts';

/** Who works together in the service of upgrades. */
export interface UpgradeServiceDeps {
  readonly store: Pick<DroverStore, 'rollouts' | 'sessions' | 'agentTasks' | 'agentSettings' | 'signals'>;
  /** Where the bundles are: those of a roll-out that starts are kept. */
  readonly blobs: BlobPins;
  /** On whose behalf a call is made; throws a DroverError with advice `denied` for a caller that is nobody. */
  readonly principalOf: (context: HandlerContext) => Principal;
}

const ringsDefault = [1, 10, 50, 100];
const atOnceDefault = 10;
const healthyWithinMsDefault = 120_000;
const reasonBytesMax = 1_024;
/** Until a conductor pins them for longer. */
const pinMs = 24 * 3_600_000;
/** Somebody else may change a roll-out between our look and our change. */
const changeTries = 5;

const states: Readonly<Record<RolloutRecord['state'], RolloutState>> = {
  rolling: RolloutState.ROLLING,
  halted: RolloutState.HALTED,
  complete: RolloutState.COMPLETE,
};
const agentStates: Readonly<Record<ReturnType<typeof rolloutStanding>['state'], RolloutAgentState>> = {
  upgraded: RolloutAgentState.UPGRADED,
  waiting: RolloutAgentState.WAITING,
  draining: RolloutAgentState.DRAINING,
  upgrading: RolloutAgentState.UPGRADING,
  failed: RolloutAgentState.FAILED,
  aside: RolloutAgentState.ASIDE,
  unable: RolloutAgentState.UNABLE,
};

/** Puts drover.control.v1.UpgradeService on a router. */
export function registerUpgradeService(router: ConnectRouter, deps: UpgradeServiceDeps): ConnectRouter {
  const service = new UpgradeRpcs(deps);
  const unary = async <T>(context: HandlerContext, run: (call: StoreContext) => Promise<T>): Promise<T> => {
    const change = changeFrom(context.values);
    try {
      return await run({
        principal: deps.principalOf(context),
        signal: context.signal,
        ...(change === undefined ? {} : { change }),
      });
    } catch (error) {
      throw connectErrorFrom(error);
    }
  };
  return router.service(UpgradeService, {
    startRollout: (request, context) =>
      unary(context, async (call) =>
        create(StartRolloutResponseSchema, { rollout: await service.start(request, call) }),
      ),
    listRollouts: ({ channel }, context) =>
      unary(context, async (call) =>
        create(ListRolloutsResponseSchema, { rollouts: await service.list(channel, call) }),
      ),
    listRolloutAgents: (request, context) => unary(context, (call) => service.agents(request, call)),
    haltRollout: ({ channel, reason }, context) =>
      unary(context, async (call) => {
        if (Buffer.byteLength(reason) > reasonBytesMax) {
          throw inputInvalid(
            'INVALID_REASON',
            'reason',
            `${Buffer.byteLength(reason)} bytes`,
            `at most ${reasonBytesMax}`,
          );
        }
        const message = reason === '' ? 'halted by an operator' : reason;
        const change: RolloutChange = { kind: 'halt', reason: { code: 'HALTED_BY_OPERATOR', message } };
        return create(HaltRolloutResponseSchema, { rollout: await service.change(channel, change, call) });
      }),
    resumeRollout: ({ channel }, context) =>
      unary(context, async (call) => {
        const change: RolloutChange = { kind: 'resume', rolloutId: randomUUID() };
        return create(ResumeRolloutResponseSchema, { rollout: await service.change(channel, change, call) });
      }),
    rollBackRollout: ({ channel }, context) =>
      unary(context, async (call) =>
        create(RollBackRolloutResponseSchema, { rollout: await service.rollBack(channel, call) }),
      ),
  });
}

class UpgradeRpcs {
  readonly #deps: UpgradeServiceDeps;

  constructor(deps: UpgradeServiceDeps) {
    this.#deps = deps;
  }

  async start(request: StartRolloutRequest, call: StoreContext): Promise<Rollout> {
    const { signatures, channel, allowDowngrade } = request;
    if (signatures.length < 1 || signatures.length > rolloutLimits.bundlesMax) {
      throw inputInvalid(
        'ROLLOUT_INVALID',
        'signatures',
        String(signatures.length),
        `1 to ${rolloutLimits.bundlesMax}`,
      );
    }
    const statements = signatures.map((signature) => ({ signature, ...readBundleStatement(signature) }));
    const { version } = statements[0]!;
    const other = statements.find((statement) => statement.version !== version);
    if (other !== undefined) {
      throw inputInvalid('ROLLOUT_INVALID', 'signatures', `${version} and ${other.version}`, 'bundles of one version');
    }
    return this.#begin(
      {
        channel,
        rolloutId: randomUUID(),
        version,
        bundles: statements.map(({ platform, digest, signature }): RolloutBundle => ({
          platform,
          ...digest,
          signature,
        })),
        rings: request.rings.length === 0 ? ringsDefault : request.rings,
        soakMs: msOf(request.soak) ?? 0,
        atOnceMax: request.atOnceMax === 0 ? atOnceDefault : request.atOnceMax,
        healthyWithinMs: msOf(request.healthyWithin) ?? healthyWithinMsDefault,
        allowDowngrade,
      },
      call,
    );
  }

  async rollBack(channel: string, call: StoreContext): Promise<Rollout> {
    const record = await this.#deps.store.rollouts.rollout(channel, call);
    if (record === undefined) throw rolloutNotFound(channel);
    if (record.previous === undefined) {
      throw new DroverError({
        code: 'ROLLOUT_NO_PREVIOUS',
        advice: 'conflict',
        message: `channel ${channel} had no version before ${record.version} that every ring had; start a roll-out of the one you want, with downgrades allowed`,
        details: { channel },
      });
    }
    const { atOnceMax, healthyWithinMs } = record;
    // It ran everywhere before: there is nothing to try in rings.
    const draft = { channel, rolloutId: randomUUID(), rings: [100], soakMs: 0, atOnceMax, healthyWithinMs };
    return this.#begin({ ...draft, ...record.previous, allowDowngrade: true }, call);
  }

  async list(channel: string, call: StoreContext): Promise<Rollout[]> {
    const { rollouts } = this.#deps.store;
    const one = channel === '' ? undefined : await rollouts.rollout(channel, call);
    if (channel !== '' && one === undefined) throw rolloutNotFound(channel);
    const records = one === undefined ? await rollouts.rollouts({ limit: 256 }, call) : [one];
    const agents = await readRolloutAgents(this.#deps.store, records, call);
    return records.map((record) => rolloutMessage(record, agents.get(record.channel) ?? []));
  }

  async agents(request: ListRolloutAgentsRequest, call: StoreContext): Promise<ListRolloutAgentsResponse> {
    const limit = pageSizeOf(request.pageSize, 200, 1_000);
    const after = idFromPageToken(request.pageToken);
    const record = await this.#deps.store.rollouts.rollout(request.channel, call);
    if (record === undefined) throw rolloutNotFound(request.channel);
    const members = (await readRolloutAgents(this.#deps.store, [record], call)).get(record.channel) ?? [];
    const rings = ringsOf(record, members);
    const behind = members.filter(({ agentId }) => after === undefined || agentId > after);
    const page = behind.slice(0, limit);
    return create(ListRolloutAgentsResponseSchema, {
      agents: page.map((agent) => {
        const { state, reason } = rolloutStanding(record, agent);
        return create(RolloutAgentSchema, {
          agentId: agent.agentId,
          version: agent.version,
          ring: (rings.get(agent.agentId) ?? 0) + 1,
          state: agentStates[state],
          reasonCode: reason?.code ?? '',
          reason: reason?.message ?? '',
        });
      }),
      nextPageToken: behind.length > limit ? pageTokenOf(page.at(-1)!.agentId) : '',
    });
  }

  async change(channel: string, change: RolloutChange, call: StoreContext): Promise<Rollout> {
    const { rollouts, signals } = this.#deps.store;
    for (let tries = 1; ; tries += 1) {
      const record = await rollouts.rollout(channel, call);
      if (record === undefined) throw rolloutNotFound(channel);
      try {
        const changed = await rollouts.changeRollout(channel, record.revision, change, call);
        signals.announce({ kind: 'work', source: upgradeSourceName });
        return (await this.#shown(changed, call))!;
      } catch (error) {
        const isFaster = error instanceof DroverError && error.code === 'ROLLOUT_CHANGED';
        if (!isFaster || tries === changeTries) throw error;
      }
    }
  }

  async #begin(draft: RolloutDraft, call: StoreContext): Promise<Rollout> {
    const { store, blobs } = this.#deps;
    const digests = draft.bundles.map(({ hash, sizeBytes }) => ({ hash, sizeBytes }));
    const owner = rolloutGroup(draft.rolloutId);
    const [missing] = await blobs.pin(digests, { owner, expiresAfterMs: pinMs });
    if (missing !== undefined) {
      await blobs.unpin(owner);
      const { platform } = draft.bundles.find(({ hash }) => hash === missing.hash)!;
      throw new DroverError({
        code: 'BUNDLE_MISSING',
        advice: 'not-found',
        message: `the bundle of ${draft.version} for ${platform} is not in the content store; drover bundles upload puts it there`,
        details: { hash: missing.hash, platform },
      });
    }
    const record = await store.rollouts.startRollout(draft, call);
    store.signals.announce({ kind: 'work', source: upgradeSourceName });
    return (await this.#shown(record, call))!;
  }

  async #shown(record: RolloutRecord, call: StoreContext): Promise<Rollout> {
    const agents = await readRolloutAgents(this.#deps.store, [record], call);
    return rolloutMessage(record, agents.get(record.channel) ?? []);
  }
}

function rolloutMessage(record: RolloutRecord, agents: readonly ChannelAgent[]): Rollout {
  const counts = new Map<RolloutAgentState, number>();
  for (const agent of agents) {
    const state = agentStates[rolloutStanding(record, agent).state];
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  const { ringDoneForMs } = record;
  return create(RolloutSchema, {
    channel: record.channel,
    version: record.version,
    bundles: record.bundles.map(({ platform, hash, sizeBytes, signature }) =>
      create(RolloutBundleSchema, { platform, hash, sizeBytes: BigInt(sizeBytes), signature }),
    ),
    state: states[record.state],
    rings: [...record.rings],
    ring: record.ring + 1,
    soak: durationFromMs(record.soakMs),
    atOnceMax: record.atOnceMax,
    healthyWithin: durationFromMs(record.healthyWithinMs),
    allowDowngrade: record.allowDowngrade,
    reasonCode: record.reason?.code ?? '',
    reason: record.reason?.message ?? '',
    startedBy: record.startedBy,
    startedAt: timestampFromMs(record.startedAtMs),
    previousVersion: record.previous?.version ?? '',
    counts: [...counts].map(([state, count]) => create(RolloutCountSchema, { state, agents: count })),
    ...(ringDoneForMs === undefined ? {} : { ringDoneFor: durationFromMs(Math.max(0, ringDoneForMs)) }),
  });
}

function msOf(duration: Duration | undefined): number | undefined {
  return duration === undefined ? undefined : durationMs(duration);
}
