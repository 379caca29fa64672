export type { AccessStore, TokenDraft, TokenRecord } from './access-store.ts';
export type {
  AgentHealthChange,
  AgentHealthRecord,
  AgentHealthResult,
  AgentHealthStore,
} from './agent-health-store.ts';
export { auditedHealth, checkHealthChanges, clearedHealth, leftAtWork, storedHealth } from './check-agent-health.ts';
export type {
  AgentTaskBinding,
  AgentTaskEnd,
  AgentTaskKey,
  AgentTaskRecord,
  AgentTaskRetry,
  AgentTaskStore,
  AgentTaskWish,
  BindAgentTasks,
  BoundAgentTask,
  OpenAgentTask,
  SettledAgentTask,
  WantedAgentTask,
  WithdrawnAgentTask,
} from './agent-task-store.ts';
export type {
  AgentSettings,
  AgentSettingsStore,
  DowntimeDraft,
  DowntimeRecord,
  DowntimeSchedule,
  IsoWeekday,
  SettingNote,
} from './agent-settings-store.ts';
export type {
  AttemptOutcome,
  AttemptStore,
  AttemptWrite,
  AttemptWriteResult,
  BoundAttemptRecord,
  LostAttempt,
} from './attempt-store.ts';
export type { AuditDraft, AuditEntry, AuditQuery, AuditStore } from './audit-store.ts';
export type { Change, ChangeNote } from './change.ts';
export type { AgentDrain, DrainStore, RecordedDrain } from './drain-store.ts';
export type { DroverStore } from './drover-store.ts';
export type {
  ApplicationOutcome,
  CredentialKeyRecord,
  EnrolmentApplication,
  EnrolmentRecord,
  EnrolmentStore,
  EnrolmentTokenDraft,
  EnrolmentTokenRecord,
  PendingEnrolmentRecord,
} from './enrolment-store.ts';
export { enrolmentLimits } from './enrolment-store.ts';
export { boundTo, decideApplication, type ApplicationDecision, type ApplicationFacts } from './enrolment-decision.ts';
export {
  agentIdTaken,
  agentKeyTaken,
  agentRevoked,
  checkOneIsMeant,
  enrolmentAmbiguous,
  enrolmentNotFound,
  enrolmentNotPending,
  enrolmentTokenNotFound,
  enrolmentTokensFull,
  enrolmentsFull,
} from './enrolment-errors.ts';
export {
  checkAgentId,
  checkApplication,
  checkKeyThumbprint,
  checkPageLimit,
  checkPoolNames,
  checkEnrolmentTokenDraft,
} from './check-enrolment-input.ts';
export type {
  AttemptRecord,
  JobDraft,
  JobRecord,
  JobStore,
  LeaseRecord,
  SubmittedJob,
  WishedAttempt,
} from './job-store.ts';
export type {
  ClaimRequest,
  ClaimShare,
  EnqueueEntry,
  LeaseQueue,
  OverdueLeases,
  SessionRef,
  WaitingClass,
  WaitingWork,
} from './lease-queue.ts';
export type { LogAppend, LogRef, LogStore } from './log-store.ts';
export type {
  AgentRecord,
  ConditionReason,
  ConditionReport,
  NewSession,
  OpenedSession,
  SessionStore,
} from './session-store.ts';
export type { PoolDraft, PoolRecord, PoolStore } from './pool-store.ts';
export type { StoreSignal, StoreSignals } from './store-signals.ts';
export type { RolloutChange, RolloutDraft, RolloutRecord, RolloutStore } from './rollout-store.ts';
export {
  auditedRollout,
  changedRollout,
  channelsFull,
  checkRolloutDraft,
  previousOf,
  rolloutChanged,
  rolloutNotFound,
} from './rollout-change.ts';
export type { StoreContext } from './store-context.ts';
export {
  agentOnline,
  agentQuarantined,
  agentsNotFound,
  callCancelled,
  callTooLarge,
  downtimeNotFound,
  downtimesFull,
  inputInvalid,
  jobExists,
  jobIdAmbiguous,
  jobNotFound,
  leaseExists,
  leaseNotFound,
  logFull,
  payloadTooLarge,
  poolExists,
  poolNotFound,
  poolsFull,
  sessionFenced,
  storeClosed,
  tokenExists,
  tokenIdAmbiguous,
  tokenNotFound,
  tokensFull,
} from './store-errors.ts';
export { auditDraftOf, auditText, checkAuditDrafts, checkAuditQuery, checkTokenDraft } from './check-access-input.ts';
export {
  checkAttemptKey,
  checkAttemptWrites,
  checkClaim,
  checkCount,
  checkDrains,
  checkEnqueueEntries,
  checkJobDrafts,
  checkLogAppend,
  checkLogRef,
  checkNewSession,
  checkPayload,
  checkReleases,
  checkSession,
  checkText,
  checkUuid,
  checkWhole,
  isUuid,
  leaseClassKey,
  storedMessage,
} from './check-store-input.ts';
export {
  agentTaskDecision,
  agentTaskExpiryMs,
  checkAgentTaskKeys,
  checkAgentTaskRetry,
  checkAgentTaskWishes,
  checkBindAgentTasks,
} from './check-agent-task.ts';
export { checkAgentIds, checkDowntime, checkPage, checkPoolDraft, storedPool } from './check-fleet-input.ts';
export { retryDecision, type EndedAttempt, type RetryDecision } from './retry-decision.ts';
export {
  auditedWorkspace,
  checkWorkspaceBeside,
  checkWorkspaceDraft,
  workspaceKey,
  workspaceLimits,
  workspaceNotFound,
  workspaceSetDigest,
  workspacesOf,
} from './workspace-set.ts';
export type { WorkspaceDraft, WorkspaceRecord, WorkspaceStore } from './workspace-store.ts';
export {
  auditedCompileTenant,
  checkCompilePlaces,
  checkCompileRecordQuery,
  checkCompileRecords,
  checkCompileTenant,
  checkCompileWorkerRef,
  checkCompileWorkerRegistration,
  checkCompileWorkerReport,
  compileLimits,
  compileTenantNotFound,
  compileTenantsFull,
  compileWorkersFull,
  compileWorkerSuperseded,
} from './check-compile-input.ts';
export {
  isolationLevels,
  type CompileKeyRecord,
  type CompilePlaceDraft,
  type CompileRecord,
  type CompileRecordDraft,
  type CompileRecordQuery,
  type CompileStore,
  type CompileTenantDraft,
  type CompileTenantRecord,
  type CompileUsage,
  type CompileWorkerRecord,
  type CompileWorkerRef,
  type CompileWorkerRegistration,
  type CompileWorkerReport,
  type CompileWorkerSandbox,
  type IsolationLevel,
} from './compile-store.ts';
export { storeLimits } from './store-limits.ts';
export { measuredStore } from './measured-store.ts';
export { createMemoryStore, type MemoryStoreDeps } from './create-memory-store.ts';
