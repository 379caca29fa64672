export type {
  AgentEffect,
  AgentEvent,
  AgentMachineOptions,
  JournalEntry,
  JournalledAttempt,
  SessionRejection,
  StopCause,
} from './agent-machine.ts';
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
export type {
  AttemptEnding,
  BoundAttempt,
  ServerEffect,
  ServerEvent,
  ServerMachineOptions,
  ServerWrite,
  SessionEnd,
} from './server-machine.ts';
