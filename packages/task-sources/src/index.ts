export {
  createAgentTaskSource,
  type AgentTaskLease,
  type AgentTaskPlan,
  type AgentTaskSourceDeps,
  type AgentTaskSourceOptions,
} from './agent-task-source.ts';
export {
  agentOffer,
  agentTraits,
  countResources,
  readyStanding,
  resourceCounts,
  resourcesLeft,
  traitsInPools,
  type AgentStanding,
  type AgentTraits,
  type AgentUse,
} from './agent-traits.ts';
export { askSources, type AskOutcome, type Candidate, type SourcedAttempt } from './ask-sources.ts';
export type { ImmediatePlacement, PlacementReservation } from './immediate-placement.ts';
export { createDraftFit, type DraftFit } from './draft-fit.ts';
export { createMessagePlanner, type MessagePlannerOptions } from './message-planner.ts';
export {
  inlinePayloadBytesMax,
  leasePinOwner,
  payloadPinMs,
  payloadReference,
  isPayloadReference,
  referencedDigest,
  resolvePayload,
  withReferencedPayload,
} from './payload-reference.ts';
export { createQueueTaskSource, type QueueTaskSourceDeps, type QueueTaskSourceOptions } from './queue-task-source.ts';
export {
  readRolloutAgents,
  upgradePayloadType,
  upgradeSourceName,
  type ChannelAgent,
  type RolloutAgentsStore,
} from './rollout-agents.ts';
