import type { Step } from '../gen/drover/job/v1/job_pb.ts';

/** What a step is told besides its own variables. */
export interface StepSurroundings {
  readonly leaseId: string;
  readonly attempt: number;
  readonly agentId: string;
  /** A home folder of the attempt's own. */
  readonly homeDir: string;
  readonly tempDir: string;
  /** The secrets of the lease by name. */
  readonly secrets: ReadonlyMap<string, string>;
  /** The file to which the step may append lines `PERCENT MESSAGE`. */
  readonly progressPath: string;
  /** The folder of the machine's long-lived workspaces. */
  readonly workspacesRoot?: string;
}

/** Taken from the agent's own environment, if set. Nothing else of it reaches a step. */
const inherited = ['PATH', 'LANG', 'LC_ALL', 'TZ', 'SystemRoot', 'ComSpec', 'PATHEXT'] as const;

/** The whole environment of a step: few variables of the agent's, what Drover tells, and the step's own last. */
export function stepEnvironment(
  step: Step,
  around: StepSurroundings,
  agentEnvironment: Readonly<Record<string, string | undefined>>,
): Record<string, string> {
  const environment: Record<string, string> = {};
  for (const name of inherited) {
    const value = agentEnvironment[name];
    if (value !== undefined) environment[name] = value;
  }
  return {
    ...environment,
    HOME: around.homeDir,
    TMPDIR: around.tempDir,
    DROVER_LEASE_ID: around.leaseId,
    DROVER_ATTEMPT: String(around.attempt),
    DROVER_AGENT_ID: around.agentId,
    DROVER_STEP: step.name,
    DROVER_PROGRESS: around.progressPath,
    ...(around.workspacesRoot === undefined ? {} : { DROVER_WORKSPACES: around.workspacesRoot }),
    ...step.environment,
    ...Object.fromEntries(
      Object.entries(step.secretEnvironment).map(([name, secret]) => [name, around.secrets.get(secret) ?? '']),
    ),
  };
}
