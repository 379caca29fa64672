export type { ConditionReason } from './agent-voice.ts';
export { describeMachine, type MachineDescription, type MachineSource } from './describe-machine.ts';
export { describeAgent } from './check-options.ts';
export { createLeaseAgent } from './lease-agent.ts';
export {
  defaultLeaseAgentLimits,
  defaultLeaseAgentTiming,
  type AgentBlobs,
  type BlobName,
  type ExitReason,
  type LeaseAgent,
  type LeaseAgentDeps,
  type LeaseAgentEvent,
  type LeaseAgentLimits,
  type LeaseAgentOptions,
  type LeaseAgentStatus,
  type LeaseAgentTiming,
} from './lease-agent-options.ts';
