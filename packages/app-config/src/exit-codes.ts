/** What the exit codes of all apps mean. They never change once released. */
export const exitCodes = {
  /** What was asked for was done; of `job run`: the job succeeded. */
  ok: 0,
  /** The job ended and did not succeed. */
  jobFailed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The configuration, a job file or another input is wrong. */
  input: 3,
  /** A server, a database or a port cannot be reached or used; the same call may succeed later. */
  unavailable: 4,
  /** The caller may not do this. */
  denied: 5,
  /** The job was cancelled. */
  jobCancelled: 6,
  /** Another machine uses this agent's identity. */
  fenced: 7,
  /** The named thing does not exist. */
  notFound: 8,
  /** A defect of Drover. */
  internal: 70,
  /** Ended by SIGINT before it was done. */
  interrupted: 130,
  /** Ended by SIGTERM before it was done. */
  terminated: 143,
} as const;

/** One of {@link exitCodes}. */
export type ExitCode = (typeof exitCodes)[keyof typeof exitCodes];
