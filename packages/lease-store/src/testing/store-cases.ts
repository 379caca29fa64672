import { agentHealthStoreCases } from './agent-health-cases.ts';
import { agentTaskStoreCases } from './agent-task-cases.ts';
import { absenceCases } from './absence-cases.ts';
import { accessStoreCases } from './access-cases.ts';
import { agentSettingsStoreCases } from './agent-settings-cases.ts';
import { attemptStoreCases } from './attempt-cases.ts';
import { auditStoreCases } from './audit-cases.ts';
import { compileStoreCases } from './compile-cases.ts';
import type { StoreCase } from './compliance-case.ts';
import { enrolmentStoreCases } from './enrolment-cases.ts';
import { jobStoreCases } from './job-cases.ts';
import { logStoreCases } from './log-cases.ts';
import { poolStoreCases } from './pool-cases.ts';
import { leaseQueueCases } from './queue-cases.ts';
import { rolloutStoreCases } from './rollout-cases.ts';
import { sessionStoreCases } from './session-cases.ts';
import { storeLifeCases } from './signal-cases.ts';
import { workspaceStoreCases } from './workspace-cases.ts';

/**
 * What every `DroverStore` does, for any test runner: give each case an empty store of its own.
 *
 * ```ts
 * test.each(storeCases)('$name', async ({ run }) => run(await emptyStore()));
 * ```
 */
export const storeCases: readonly StoreCase[] = [
  ...leaseQueueCases,
  ...attemptStoreCases,
  ...sessionStoreCases,
  ...jobStoreCases,
  ...logStoreCases,
  ...agentTaskStoreCases,
  ...agentHealthStoreCases,
  ...accessStoreCases,
  ...auditStoreCases,
  ...poolStoreCases,
  ...agentSettingsStoreCases,
  ...enrolmentStoreCases,
  ...rolloutStoreCases,
  ...absenceCases,
  ...workspaceStoreCases,
  ...compileStoreCases,
  ...storeLifeCases,
];
