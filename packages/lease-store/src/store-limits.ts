/** Bounds that every store keeps. A call beyond one is an error before anything is written. */
export const storeLimits = {
  /** Leases of one `enqueue`, and of all jobs of one `submit`. */
  leasesPerCallMax: 1_000,
  /** Jobs of one `submit`. */
  jobsPerCallMax: 1_000,
  /** Writes of one `record`, entries of one `recordProgress`, proven attempts of a session. */
  writesPerCallMax: 4_096,
  /** Classes and places of one `claim`. */
  claimMax: 1_024,
  /** Classes that `waitingClasses` answers. */
  waitingClassesMax: 4_096,
  /** Inline bytes of a lease's payload or output; what is larger belongs in the content store. */
  payloadBytesMax: 256 * 1024,
  /** Bytes of a lease's sealed secrets. */
  secretsBytesMax: 256 * 1024,
  /** Inline bytes of a job's payload. */
  jobPayloadBytesMax: 1024 * 1024,
  /** Payloads or outputs of one call, together. */
  callBytesMax: 64 * 1024 * 1024,
  /** Characters of an id that is no UUID: agent, session, server, request, source. */
  idLengthMax: 256,
  /** Characters of a lease's or a job's name. */
  nameLengthMax: 256,
  /** Bytes of UTF-8 that are kept of a reason or a progress message; the rest is cut off. */
  messageBytesMax: 4_096,
  priorityMin: -1_000,
  priorityMax: 1_000,
  /** Longest wait before a further attempt. */
  backoffMsMax: 3_600_000,
  attemptsMax: 20,
  /** Longest absence that a lease grants to its agent. */
  absenceMsMax: 30 * 86_400_000,
  /** Longest time that a drain lasts without being repeated. */
  drainTtlMsMax: 31 * 86_400_000,
  /** Agents that a lease excludes; the oldest exclusion is dropped beyond. */
  excludedAgentsMax: 256,
  /** Rows of one page of a list. */
  pageMax: 1_000,
  /** Attempts that a lease's record shows: the last ones. */
  attemptsShownMax: 32,
  /** Attempts that one `sweep` ends. */
  sweepMax: 1_000,
  /** Inline bytes of what is wanted of an agent. */
  agentTaskPayloadBytesMax: 16 * 1024,
  /** Wishes or keys of one `want` or `withdraw`, and tasks of one `settle`. */
  agentTasksPerCallMax: 1_000,
  /** Entries of one `bind`. */
  agentTaskBindingsMax: 256,
  /** Tasks that `open` answers. */
  openAgentTasksMax: 10_000,
  logsPerAttemptMax: 256,
  logBytesMax: 64 * 1024 * 1024,
  logAppendBytesMax: 256 * 1024,
  logReadBytesMax: 4 * 1024 * 1024,
  logNameLengthMax: 256,
  /** Bytes of an agent's description. */
  descriptionBytesMax: 256 * 1024,
  /** Ids of agents that one pool lists. */
  poolAgentsMax: 1_000,
  /** Pools that one downtime names. */
  downtimePoolsMax: 64,
  /** Downtimes of a fleet. */
  downtimesMax: 1_000,
  /** How long a downtime that happened once is remembered after its end. */
  pastDowntimeMs: 30 * 86_400_000,
  /** Characters of an operator's comment. */
  commentLengthMax: 1_024,
  /** How long an operator may make an agent busy. */
  busyForMsMax: 31 * 86_400_000,
  /** Classes that `waitingWork` answers, and leases that it counts of each. */
  waitingCountMax: 100_000,
  /** Takeovers of a live session by another process, within `takeoverWindowMs`, that quarantine an agent. */
  takeoversMax: 4,
  takeoverWindowMs: 5 * 60_000,
  quarantineMs: 10 * 60_000,
  /** Tokens that have not ended. */
  tokensMax: 10_000,
  /** Pools that one token is limited to. */
  tokenPoolsMax: 100,
  tokenLifetimeMsMax: 10 * 366 * 86_400_000,
  /** How exactly the last use of a token is known. */
  tokenUseMs: 3_600_000,
  /** Lines of the audit that one call adds. */
  auditEntriesPerCallMax: 1_000,
  /** Bytes of JSON that the audit keeps of a thing before a change, and after it. */
  auditRecordBytesMax: 8_192,
  /** Changes of agents' health of one call, and caps of one change. */
  healthChangesMax: 256,
  healthCapsMax: 1_100,
  /** Leases that are kept of what speaks against an agent. */
  healthEvidenceMax: 16,
  /** Bad ends that one look at the facts answers, the jobs that they are of, and successful leases that are counted of each. */
  healthEndsMax: 5_000,
  healthJobsMax: 200,
  healthSuccessesMax: 2_000,
  /** Channels that have a roll-out. */
  channelsMax: 256,
} as const;
