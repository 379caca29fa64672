export { leaseHandlerCompliance, type LeaseHandlerSubject } from './lease-handler-compliance.ts';
export { ManualClock } from './manual-clock.ts';
export { taskSourceCompliance, type TaskSourceSubject } from './task-source-compliance.ts';
export { createTestLeaseContext, type TestLeaseContext } from './test-lease-context.ts';
export type { TestRunner } from './test-runner.ts';
