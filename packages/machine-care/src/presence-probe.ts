/** Tells how long ago a person used this machine, by one kind of trace. */
export interface PresenceProbe {
  /** E.g. `logind`. */
  readonly name: string;
  /** Milliseconds since the last trace; `Infinity` for none; undefined where this kind can tell nothing. */
  idleMs(signal: AbortSignal): Promise<number | undefined>;
}
