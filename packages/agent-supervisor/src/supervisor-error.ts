/** What the supervisor foresaw. It stands alone, so that nothing but this package can break it. */
export class SupervisorError extends Error {
  override readonly name = 'SupervisorError';
  /**
   * - `SUPERVISOR_RUNS`: another supervisor has the folder.
   * - `VERSION_MISSING`: there is no current version, or its folder is not complete.
   * - `NOT_SUPERVISED`: the process was not started by the supervisor of that folder, or not as its present agent.
   */
  readonly code: 'SUPERVISOR_RUNS' | 'VERSION_MISSING' | 'NOT_SUPERVISED';

  constructor(code: SupervisorError['code'], message: string) {
    super(message);
    this.code = code;
  }
}
