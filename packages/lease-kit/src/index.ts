export { systemClock, type Clock, type ScheduledCall } from './clock.ts';
export type { ConfigIssue, ConfigResult, ConfigSchema } from './config-schema.ts';
export { delay } from './delay.ts';
export {
  DroverError,
  isDroverError,
  isRetryable,
  messageOf,
  type DroverErrorOptions,
  type ErrorAdvice,
  type ErrorDetails,
} from './drover-error.ts';
export { JobPlanner, type PlannedLease } from './job-planner.ts';
export {
  LeaseHandler,
  type AttemptLog,
  type HandlerResult,
  type LeaseContext,
  type StopReason,
} from './lease-handler.ts';
export type { CallContext, LeaseClient, LeaseEndpoint, LeaseLink } from './lease-link.ts';
export {
  defineAgentPart,
  defineServerPart,
  leaseTypeContract,
  leaseTypePartMark,
  type AgentContribution,
  type AgentTaskKind,
  type LeaseTypeAgentPart,
  type LeaseTypePart,
  type LeaseTypePartMark,
  type LeaseTypePartOptions,
  type LeaseTypeServerPart,
  type ServerContribution,
} from './lease-type-part.ts';
export {
  defineLeaseType,
  type CutOffRule,
  type LeaseType,
  type LeaseTypeOptions,
  type RetryPolicy,
} from './lease-type.ts';
export { silentLogger, type LogFields, type Logger } from './logger.ts';
export {
  silentMeter,
  type Counter,
  type Histogram,
  type Meter,
  type MetricLabels,
  type MetricOptions,
  type ObservableGauge,
  type Observation,
} from './meter.ts';
export { payloadTypeOf } from './payload-type.ts';
export { principalName, type Principal } from './principal.ts';
export {
  TaskSource,
  type AbsenceGrant,
  type AgentView,
  type AskContext,
  type AssignedAttempt,
  type AttemptEnd,
  type LeaseDraft,
  type LeaseRequirements,
  type LeaseTimeouts,
  type TaskAnswer,
} from './task-source.ts';
export { passingRefusalCodes, passingRefusalDelayMs } from './passing-refusal.ts';
