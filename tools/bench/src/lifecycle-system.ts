/** A queue with its workers, as the suites drive it: Drover, or the peer. */
export interface LifecycleSystem extends AsyncDisposable {
  /** Stores so much new work in one statement and answers the ids, once it is committed. */
  enqueue(count: number): Promise<readonly string[]>;
  /** Resolves when so many handlers have started since the system did. */
  handlersStarted(count: number): Promise<void>;
  /** Whether the database holds no work that waits or runs: every completion is persisted. */
  allEnded(): Promise<boolean>;
  /** How much work of the system has ended otherwise than completed. */
  endedBadly(): Promise<number>;
}
