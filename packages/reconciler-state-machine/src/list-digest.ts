import type { AttemptKey } from './attempt-key.ts';

/** One line of a list as its digest sees it. */
export interface DigestLine extends AttemptKey {
  readonly state: string;
}

/**
 * The canonical text behind a digest: the revision, then each attempt with its sender's state, in the sender's order.
 * The receiver keeps that order, so neither end sorts.
 */
export function listDigestText(revision: number, lines: readonly DigestLine[]): string {
  let text = String(revision);
  for (const line of lines) text += `\n${line.attempt} ${line.state} ${line.leaseId}`;
  return text;
}
