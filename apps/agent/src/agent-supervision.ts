import { openSupervisedHome, SupervisorError, type SupervisedHome } from '@drover/agent-supervisor';
import { DroverError, messageOf, type Logger } from '@drover/lease-kit';
import type { LoadedPart } from '@drover/lease-type-loader';
import type { AgentContribution } from '@drover/lease-kit';
import { bundleProperty, channelProperty } from '@drover/lease-type-upgrade';
import { agentPart as upgrade } from '@drover/lease-type-upgrade/lease-handler';
import type { AgentConfig } from './agent-config.ts';

const packageName = '@drover/lease-type-upgrade';

/** What an agent has of its supervisor. */
export interface AgentSupervision {
  readonly home: SupervisedHome;
  /** The upgrade handler's part and its configuration; none without a key that is trusted. */
  readonly parts: readonly LoadedPart<AgentContribution>[];
  readonly tables: Readonly<Record<string, unknown>>;
  readonly properties: Readonly<Record<string, readonly string[]>>;
  /** Tells the supervisor that this process has a session. */
  tellHealthy(): void;
}

/** Opens the supervisor's folder; undefined for an agent that has no supervisor. Throws `NOT_SUPERVISED`. */
export async function openSupervision(config: AgentConfig, logger: Logger): Promise<AgentSupervision | undefined> {
  const { home: folder, start } = config.supervisor;
  const { keys, downgrade, channel } = config.upgrade;
  if (folder === undefined || start === undefined) {
    if (keys.length > 0)
      logger.warn({}, 'upgrade.keys are set, and no drover-supervisor runs this agent: it takes no upgrades');
    return undefined;
  }
  const home = await openSupervisedHome({ home: folder, start }).catch((error: unknown) => {
    if (!(error instanceof SupervisorError)) throw error;
    throw new DroverError({ code: error.code, advice: 'fix-input', message: messageOf(error), cause: error });
  });
  if (keys.length === 0) logger.info({}, 'upgrade.keys are not set: this agent takes no upgrades');
  let isTold = false;
  return {
    home,
    parts: keys.length === 0 ? [] : [{ packageName, part: upgrade }],
    tables: keys.length === 0 ? {} : { [packageName]: { keys, downgrade } },
    properties: { [channelProperty]: [channel], [bundleProperty]: [home.running.bundle] },
    tellHealthy() {
      if (isTold) return;
      isTold = true;
      home.tellHealthy().catch((error: unknown) => {
        isTold = false;
        logger.error({ err: error }, 'the supervisor cannot be told that this agent is healthy');
      });
    },
  };
}
