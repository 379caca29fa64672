import type { CallContext } from '@drover/lease-kit';

/** What an agent that was let in may do. */
export interface AdmittedAgent {
  /** The pools that it is bound to: it is in these and in no other that it asks for. Absent: it is not bound. */
  readonly poolsAllowed?: readonly string[] | undefined;
}

/** Lets agents in, beyond who may act as whom. */
export interface AgentAdmission {
  /** Asked before a session is opened. Throws a DroverError for an agent that may have none. */
  admit(agentId: string, context: CallContext): Promise<AdmittedAgent>;
  /**
   * Asked when the session has been opened: what was decided in between counts. Throws a DroverError with advice `denied` or
   * `fenced` to have it ended at once. What is decided later comes as `LeaseServer.evict`.
   */
  confirm(agentId: string, context: CallContext): Promise<void>;
}
