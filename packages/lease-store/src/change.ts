/** What a change did to one thing, for the audit. Never a secret: no token, no key, no payload. */
export interface ChangeNote {
  /** What was changed: `<noun>:<id>`, e.g. `agent:build-7`, at most 256 characters. */
  readonly subject: string;
  /** What was done, where a call can do one thing or another; absent: what the table of RPCs says of the call. */
  readonly action?: string;
  /** What a person asks about it, as it was; absent: it was not there, or does not matter. */
  readonly before?: Readonly<Record<string, unknown>>;
  /** The same, as it is now; absent: it is gone. */
  readonly after?: Readonly<Record<string, unknown>>;
}

/**
 * A change that a person or program asked for, until the audit has it. A store that makes the change writes the notes in the
 * same transaction and says so with {@link wroteNote}; what a handler says with {@link note} is written when it has returned,
 * before its caller is answered.
 */
export interface Change {
  /** As the table of RPCs names it, e.g. `token.create`. */
  readonly action: string;
  /** IP address that it came from. */
  readonly address: string;
  /** How the one who asked was recognized. */
  readonly credential: string;
  /** Says what was changed, for the audit. At most 100 notes of one change are kept. */
  note(note: ChangeNote): void;
  /** The store has written a note with the change itself. */
  wroteNote(): void;
}
