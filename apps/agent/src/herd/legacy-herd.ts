import type { BlobPins, ContentStore } from '@drover/content-store';
import { createHerdBridge, type HerdBridge } from '@drover/herd-bridge/agent';
import type { HerdJobRunner } from '@drover/herd-protocol';
import type { Logger } from '@drover/lease-kit';
import { availableParallelism, loadavg, totalmem } from 'node:os';
import { join } from 'node:path';
import type { AgentHerdConfig } from '../herd-config.ts';
import { version } from '../version.ts';

/** Who works together in it. */
export interface LegacyHerdDeps {
  /** The herd's folder. */
  readonly dir: string;
  readonly runner: HerdJobRunner;
  readonly content: ContentStore & BlobPins;
  readonly logger: Logger;
}

/** Answers original Herd clients as a configuration says. Throws what `createHerdBridge` throws. */
export function startLegacyHerd({ legacy }: AgentHerdConfig, deps: LegacyHerdDeps): Promise<HerdBridge> {
  const { dir, runner, content, logger } = deps;
  return createHerdBridge(
    {
      networks: legacy.networks,
      spoolFolder: join(dir, 'legacy-spool'),
      host: legacy.host,
      discoveryPort: legacy.discovery_port,
      jobPort: legacy.job_port,
      jobsMax: legacy.jobs_max,
      waitingMax: legacy.waiting_max,
      waitMs: legacy.wait_max,
      pipesFolder: legacy.pipes_dir,
      pipeKind: legacy.pipes,
    },
    {
      runner,
      content,
      logger,
      describe: () => {
        const processors = availableParallelism();
        return {
          processors,
          architecture: architecture(),
          loadPercent: Math.min(100, ((loadavg()[0] ?? 0) / processors) * 100),
          memoryBytes: totalmem(),
          extra: { DroverVersion: version },
        };
      },
    },
  );
}

/** What original clients choose programs by; of other machines they have none. */
function architecture(): string {
  const system = { linux: 'Linux', win32: 'Win' }[process.platform as string];
  const bits = { x64: '64', ia32: '32' }[process.arch as string];
  return system === undefined || bits === undefined ? 'N/A' : `${system}-${bits}`;
}
