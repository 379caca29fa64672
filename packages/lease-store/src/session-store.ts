import type { AgentDescription } from '@drover/lease-protocol';
import type { BoundAttemptRecord, LostAttempt } from './attempt-store.ts';
import type { RecordedDrain } from './drain-store.ts';
import type { SessionRef } from './lease-queue.ts';
import type { StoreContext } from './store-context.ts';

/** A session to open. */
export interface NewSession {
  readonly agentId: string;
  readonly sessionId: string;
  /** The server process that holds it. */
  readonly serverId: string;
  /** Tells two processes with one agent id apart. */
  readonly instanceNonce: string;
  readonly description: AgentDescription;
  /**
   * What the agent proves that it took, at most 4,096. `goingDown`: the same process that proves it has said so; otherwise
   * the agent is back, and what it had said before is over.
   */
  readonly proven: readonly { readonly leaseId: string; readonly attempt: number; readonly goingDown?: boolean }[];
}

/** What opening a session did, in one transaction. */
export interface OpenedSession {
  readonly epoch: number;
  /** The proven attempts that were live: now of this epoch, in the state that they had: an offer may still be refused. */
  readonly rebound: readonly BoundAttemptRecord[];
  /** The other attempts of the earlier session. */
  readonly lost: readonly LostAttempt[];
  /** The drain that is on for the agent, whichever server was told of it. */
  readonly drain?: RecordedDrain;
  /** The session that this one fenced, if it had not ended. */
  readonly fenced?: { readonly sessionId: string; readonly serverId: string; readonly epoch: number };
}

/** Why an agent's condition is what it is. */
export interface ConditionReason {
  /** Stable, upper snake case, e.g. `DISK_SPACE_LOW`; at most 256 characters. */
  readonly code: string;
  /** One sentence for a person; what is beyond 4,096 bytes is cut off. */
  readonly message: string;
}

/** The condition that an agent reports. */
export interface ConditionReport {
  readonly condition: AgentRecord['condition'];
  readonly reason?: ConditionReason;
}

/** An agent as the store remembers it. */
export interface AgentRecord {
  readonly agentId: string;
  readonly description: AgentDescription;
  readonly epoch: number;
  /** Absent when it has no session. */
  readonly session?: { readonly sessionId: string; readonly serverId: string; readonly openedAtMs: number };
  /** `ready` until a server records otherwise; meaningless without a session. */
  readonly condition: 'ready' | 'busy' | 'stopping' | 'unhealthy';
  /** Why the condition is what it is; absent where the agent gives no reason. */
  readonly conditionReason?: ConditionReason;
  /** When its last session ended; absent while it has one. */
  readonly leftAtMs?: number;
  /** Set while a source drains it. */
  readonly drain?: RecordedDrain;
  /** Set while two machines are using one identity. */
  readonly quarantinedUntilMs?: number;
  /** The pools that its enrolment binds it to; absent where that binds it to none. */
  readonly poolsAllowed?: readonly string[];
  readonly leases: number;
  readonly resourcesUsed: Readonly<Record<string, number>>;
}

/** Sessions of agents and the servers that hold them. */
export interface SessionStore {
  /**
   * Opens a session: gives it the next epoch of its agent, fences the earlier one, binds the proven attempts to it and
   * ends the others as lost. Live takeovers by different nonces, 4 within 5 minutes, quarantine the agent for 10:
   * AGENT_QUARANTINED with advice `denied`.
   */
  openSession(session: NewSession, context: StoreContext): Promise<OpenedSession>;
  /**
   * Ends a session if it is current; its attempts end as lost, but for those whose lease grants the agent an absence that is
   * not over: {@link sweep} ends them when it is. `silentMs`: how long ago the agent was last heard; absent means just now.
   * Repeating it changes nothing.
   */
  endSession(
    session: SessionRef,
    reason: string,
    context: StoreContext,
    silentMs?: number,
  ): Promise<readonly LostAttempt[]>;
  /** Remembers the condition that an agent reports, if the session is current. Called only on change. */
  recordCondition(session: SessionRef, report: ConditionReport, context: StoreContext): Promise<void>;
  /** Replaces what an agent says about itself, if the session is current. Called only on change. */
  recordDescription(session: SessionRef, description: AgentDescription, context: StoreContext): Promise<void>;
  /** Says that a server lives; the one write that keeps all its sessions alive. */
  beat(serverId: string, context: StoreContext): Promise<void>;
  /** Says that a server ends in good order: its sessions get the grace period from now on. */
  leave(serverId: string, context: StoreContext): Promise<void>;
  /**
   * Ends the sessions of servers that have not beaten for `serverTtlMs` + `graceMs`, and attempts whose session is no
   * longer current: as lost, or, where the lease grants the agent an absence, when that is over and as the grant says. An
   * absence is counted from when the agent was last heard, and after the death of its server from that one's last beat. At
   * most 1,000 attempts a call; the caller repeats while it gets that many.
   */
  sweep(
    limits: { readonly serverTtlMs: number; readonly graceMs: number },
    context: StoreContext,
  ): Promise<readonly LostAttempt[]>;
  /**
   * Forgets an agent that has no session, and what operators have set for it; its epochs are never given again. One that
   * comes back is new. Ephemeral agents are forgotten by {@link sweep} as soon as they have no session and no attempt.
   * AGENT_NOT_FOUND, AGENT_ONLINE.
   */
  removeAgent(agentId: string, context: StoreContext): Promise<void>;
  /** This agent. AGENT_NOT_FOUND. */
  agent(agentId: string, context: StoreContext): Promise<AgentRecord>;
  /** By id. */
  agents(
    page: { readonly after?: string; readonly limit: number },
    context: StoreContext,
  ): Promise<readonly AgentRecord[]>;
}
