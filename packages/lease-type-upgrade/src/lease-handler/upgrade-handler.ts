import { create } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import {
  checkBundleStatement,
  unpackBundle,
  verifyBundleSignature,
  type BundleStatement,
  type TrustedKey,
} from '@drover/agent-bundles';
import type { SupervisedHome } from '@drover/agent-supervisor';
import { digestFromWire, type ContentStore } from '@drover/content-store';
import { delay, DroverError, type HandlerResult, type LeaseContext, type LeaseHandler } from '@drover/lease-kit';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import {
  UpgradeResultSchema,
  type Upgrade,
  type UpgradeResultSchema as UpgradeResultDescriptor,
  type UpgradeSchema,
} from '../gen/drover/upgrade/v1/upgrade_pb.ts';
import { healthyWithinMsDefault, upgradeLeaseType } from '../upgrade-lease-type.ts';
import { fetchBundle } from './fetch-bundle.ts';

/** What the upgrade handler works with. */
export interface UpgradeHandlerDeps {
  readonly content: ContentStore;
  /** The supervisor that runs this agent. */
  readonly supervisor: SupervisedHome;
  /** A folder of its own, on a disk that outlives the process: a bundle that was fetched is not fetched again. */
  readonly stateDir: string;
}

/** What is allowed to run on this machine. */
export interface UpgradeHandlerOptions {
  /** One of these must have signed a bundle; at least one. */
  readonly keys: readonly TrustedKey[];
  /** Whether an older version may follow: if the lease asks for it, or never. Default `asked`. */
  readonly downgrade?: 'asked' | 'never';
}

type UpgradeOutcome = HandlerResult<typeof UpgradeResultDescriptor>;

const lookMs = 200;

/**
 * Makes the handler of upgrades.
 *
 * ```
 *   run: signature ▸ fetch ▸ unpack beside the running version ▸ going down ▸ wish ▸ this process ends
 *   the supervisor: switches, starts the new version, waits until it is healthy, or goes back
 *   resume: in the new version, healthy → completed · in the one before, rolled back → failed with the supervisor's reason
 *           no switch was begun (the power went before the wish) → as run
 * ```
 */
export function createUpgradeHandler(
  options: UpgradeHandlerOptions,
  deps: UpgradeHandlerDeps,
): LeaseHandler<typeof UpgradeSchema, typeof UpgradeResultDescriptor> {
  const handler = new UpgradeHandler(options, deps);
  return {
    type: upgradeLeaseType,
    run: (upgrade, context) => handler.run(upgrade, context),
    resume: (upgrade, context) => handler.resume(upgrade, context),
  };
}

class UpgradeHandler {
  readonly #options: UpgradeHandlerOptions;
  readonly #deps: UpgradeHandlerDeps;

  constructor(options: UpgradeHandlerOptions, deps: UpgradeHandlerDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  async run(upgrade: Upgrade, context: LeaseContext): Promise<UpgradeOutcome> {
    const { supervisor } = this.#deps;
    const statement = this.#checked(upgrade);
    if (statement.digest.hash === supervisor.running.bundle) {
      return completed(upgrade.version, supervisor.running.version, true);
    }
    const to = await this.#install(statement, context);
    context.signal.throwIfAborted();
    context.progress(95, `going down to start ${upgrade.version}`);
    await context.goingDown(context.signal);
    const id = switchId(context);
    const healthyWithinMs = upgrade.healthyWithin ? durationMs(upgrade.healthyWithin) : healthyWithinMsDefault;
    await supervisor.wishSwitch({ id, to, healthyWithinMs });
    context.handOver();
    await aborted(context.signal);
    const { reason } = context.signal;
    // Somebody was faster than the end of this process: the version stays as it is.
    if (reason.code !== 'going-down') await supervisor.withdraw(id);
    throw reason;
  }

  async resume(upgrade: Upgrade, context: LeaseContext): Promise<UpgradeOutcome> {
    const { supervisor } = this.#deps;
    for (;;) {
      const record = await supervisor.switchOf(switchId(context));
      switch (record?.phase) {
        case undefined:
          return this.run(upgrade, context);
        case 'switching':
        case 'proving':
          context.progress(98, `${upgrade.version} runs and has to prove healthy`);
          await delay(context.clock, lookMs, context.signal);
          context.signal.throwIfAborted();
          break;
        case 'healthy':
          if (record.to === supervisor.running.name) return completed(upgrade.version, record.from, false);
          return failed('UPGRADE_REPLACED', `${supervisor.running.name} runs instead of ${record.to}`);
        case 'going-back':
        case 'rolled-back': {
          const { code, message } = record.reason ?? {
            code: 'VERSION_UNKNOWN',
            message: 'the supervisor does not say',
          };
          return failed(code, `${upgrade.version} was given up for ${supervisor.running.version}: ${message}`);
        }
      }
    }
  }

  /** What was signed, if it is what the lease wants and this machine may run it. */
  #checked(upgrade: Upgrade): BundleStatement {
    const { version, bundle, signature, allowDowngrade, healthyWithin } = upgrade;
    if (bundle === undefined) throw invalid('bundle is missing');
    const withinMs = healthyWithin === undefined ? healthyWithinMsDefault : durationMs(healthyWithin);
    if (!(withinMs >= 1_000 && withinMs <= 3_600_000))
      throw invalid(`healthy_within is ${withinMs} ms, not 1 s to 1 h`);
    const statement = verifyBundleSignature(signature, this.#options.keys);
    checkBundleStatement(statement, {
      version,
      digest: digestFromWire(bundle),
      running: this.#deps.supervisor.running.version,
      allowDowngrade: allowDowngrade && this.#options.downgrade !== 'never',
    });
    return statement;
  }

  /** The name of the version, which stands complete beside the running one. */
  async #install({ version, digest, platform }: BundleStatement, context: LeaseContext): Promise<string> {
    const { supervisor, stateDir, content } = this.#deps;
    const { signal } = context;
    return supervisor.install({ version, bundle: digest.hash }, async (folder) => {
      const percentOf = (bytes: number): number => Math.floor((bytes / Math.max(1, digest.sizeBytes)) * 50);
      const file = await fetchBundle(digest, {
        content,
        stateDir,
        signal,
        onProgress: (bytes) => context.progress(percentOf(bytes), `fetching ${version}`),
      });
      context.progress(50, `unpacking ${version}`);
      const manifest = await unpackBundle(createReadStream(file), { folder, signal });
      if (manifest.version !== version || manifest.platform !== platform) {
        throw new DroverError({
          code: 'BUNDLE_VERSION_WRONG',
          advice: 'fix-input',
          message: `the bundle says that it is ${manifest.version} for ${manifest.platform}, and ${version} for ${platform} was signed`,
        });
      }
      await rm(file, { force: true });
      return { entry: manifest.entry };
    });
  }
}

/** A switch is named by the attempt that asked for it. */
function switchId({ leaseId, attempt }: LeaseContext): string {
  return `${leaseId}/${attempt}`;
}

function completed(version: string, previousVersion: string, unchanged: boolean): UpgradeOutcome {
  return { kind: 'completed', output: create(UpgradeResultSchema, { version, previousVersion, unchanged }) };
}

function failed(code: string, message: string): UpgradeOutcome {
  return { kind: 'failed', code, message };
}

function invalid(message: string): DroverError {
  return new DroverError({ code: 'UPGRADE_INVALID', advice: 'fix-input', message });
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
}
