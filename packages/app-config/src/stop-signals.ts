/** What an app does when it is told to stop. */
export interface StopSignals {
  /** Aborted by the first SIGTERM or SIGINT: finish what runs. Its reason is the signal's name. */
  readonly drain: AbortSignal;
  /** Aborted by the second: stop what runs. */
  readonly cancel: AbortSignal;
  /** Stops listening; idempotent. */
  [Symbol.dispose](): void;
}

/**
 * Listens for SIGTERM and SIGINT. A process that was started with an IPC channel is also told to stop, once, when its
 * parent goes away, so that nothing is left behind by a parent that was killed.
 */
export function listenForStop(from: NodeJS.Process = process): StopSignals {
  const drain = new AbortController();
  const cancel = new AbortController();
  const onSignal = (signal: NodeJS.Signals): void => (drain.signal.aborted ? cancel : drain).abort(signal);
  const onOrphaned = (): void => {
    drain.abort('SIGTERM');
    cancel.abort('SIGTERM');
  };
  from.on('SIGTERM', onSignal);
  from.on('SIGINT', onSignal);
  if (from.connected) from.once('disconnect', onOrphaned);
  return {
    drain: drain.signal,
    cancel: cancel.signal,
    [Symbol.dispose]() {
      from.off('SIGTERM', onSignal);
      from.off('SIGINT', onSignal);
      from.off('disconnect', onOrphaned);
    },
  };
}
