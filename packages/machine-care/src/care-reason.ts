/** Why a machine is not fit, or not free, for work. */
export interface CareReason {
  /** Stable, upper snake case, e.g. `DISK_SPACE_LOW`. */
  readonly code: string;
  /** One sentence for a person. It changes only when the reason does: every change is told to the server. */
  readonly message: string;
}
