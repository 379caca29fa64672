/** The name of one attempt of a lease: everything that is exchanged, stored or journalled is keyed by it. */
export interface AttemptKey {
  readonly leaseId: string;
  /** Counts from 1. */
  readonly attempt: number;
}

/** A key as a string, for maps: the same for equal keys, different for others. */
export function keyString(key: AttemptKey): string {
  return `${key.attempt}:${key.leaseId}`;
}
