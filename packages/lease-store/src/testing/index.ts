export { agentHealthStoreCases } from './agent-health-cases.ts';
export { agentTaskStoreCases } from './agent-task-cases.ts';
export { accessStoreCases } from './access-cases.ts';
export { agentSettingsStoreCases } from './agent-settings-cases.ts';
export { attemptStoreCases } from './attempt-cases.ts';
export { auditStoreCases } from './audit-cases.ts';
export type { StoreCase, StoreSubject } from './compliance-case.ts';
export { enrolmentStoreCases } from './enrolment-cases.ts';
export { jobStoreCases } from './job-cases.ts';
export { logStoreCases } from './log-cases.ts';
export { poolStoreCases } from './pool-cases.ts';
export { leaseQueueCases } from './queue-cases.ts';
export { rolloutStoreCases } from './rollout-cases.ts';
export { sessionStoreCases } from './session-cases.ts';
export { storeLifeCases } from './signal-cases.ts';
export { storeCases } from './store-cases.ts';
export {
  acceptanceOf,
  boundSample,
  claimAll,
  endOf,
  openSample,
  sampleContext,
  sampleDraft,
  sampleEntry,
  sampleJob,
  samplePayload,
  sampleSession,
} from './store-samples.ts';
