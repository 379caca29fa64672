import { parseTrustedKey } from '@drover/agent-bundles';
import { defineAgentPart } from '@drover/lease-kit';
import { z } from 'zod';
import { upgradeLeaseType } from '../upgrade-lease-type.ts';
import { createUpgradeHandler, type UpgradeHandlerDeps } from './upgrade-handler.ts';

const config = z.strictObject({
  keys: z.array(z.string()).min(1).max(16),
  downgrade: z.enum(['asked', 'never']).default('asked'),
});

/** What upgrades bring to an agent that runs under a supervisor. */
export const agentPart = defineAgentPart({
  type: upgradeLeaseType,
  needs: ['content', 'supervisor', 'stateDir'],
  config,
  create: ({ keys, downgrade }, deps: UpgradeHandlerDeps) => ({
    handler: createUpgradeHandler({ keys: keys.map(parseTrustedKey), downgrade }, deps),
  }),
});
