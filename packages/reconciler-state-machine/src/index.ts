export type {
  AgentEffect,
  AgentEvent,
  AgentMachineOptions,
  JournalEntry,
  JournalledAttempt,
  RefusalCause,
  SessionRejection,
  StopCause,
} from './agent-machine.ts';
export {
  deadLinkHeartbeats,
  initialAgentState,
  nextAgentDeadlineMs,
  type AgentHolding,
  type AgentState,
  type HoldingPhase,
  type JournalWriteInFlight,
  type SentMark,
} from './agent-state.ts';
export { keyString, type AttemptKey } from './attempt-key.ts';
export type {
  AgentCopy,
  AgentLease,
  AgentLeaseState,
  CopyHeader,
  CopyList,
  ServerCopy,
  ServerLease,
  ServerLeaseState,
} from './copies.ts';
export { guardNames, guardRows, guardsWithout, type GuardName, type GuardRow, type Guards } from './guards.ts';
export { listDigestText, type DigestLine } from './list-digest.ts';
export {
  semanticTable,
  type AgentAction,
  type AgentColumn,
  type Cell,
  type ServerAction,
  type ServerRow,
} from './semantic-table.ts';
export type {
  AttemptEnding,
  BoundAttempt,
  ServerEffect,
  ServerEvent,
  ServerMachineOptions,
  ServerWrite,
  SessionEnd,
} from './server-machine.ts';
export {
  initialServerState,
  nextServerDeadlineMs,
  type RememberedList,
  type ServerHolding,
  type ServerState,
  type ServerWriteInFlight,
} from './server-state.ts';
export { stepAgent, stepAgentBatch, type AgentStep } from './step-agent.ts';
export { stepServer, stepServerBatch, type ServerStep } from './step-server.ts';
