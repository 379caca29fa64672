import { createContextKey, type ContextValues } from '@connectrpc/connect';
import type { Change, ChangeNote } from '@drover/lease-store';
import type { Caller } from './caller.ts';

const notesMax = 100;

/** A change under way: what the audit is still to be told of it. */
export class PendingChange implements Change {
  readonly action: string;
  readonly caller: Caller;
  readonly notes: ChangeNote[] = [];
  /** Notes beyond the bound. */
  notesLeftOut = 0;
  /** The store has written at least one note itself. */
  isWritten = false;

  constructor(action: string, caller: Caller) {
    this.action = action;
    this.caller = caller;
  }

  get address(): string {
    return this.caller.address;
  }

  get credential(): string {
    return this.caller.credential;
  }

  note(note: ChangeNote): void {
    if (this.notes.length < notesMax) this.notes.push(note);
    else this.notesLeftOut += 1;
  }

  wroteNote(): void {
    this.isWritten = true;
  }
}

/** The change that a call is making, in `context.values`; undefined for a call that changes nothing. */
export const changeKey = createContextKey<PendingChange | undefined>(undefined, { description: 'drover change' });

/**
 * The change that a call is making, for the `change` of a `StoreContext` and for notes; undefined for a call whose row in the
 * table of RPCs is no `change`.
 */
export function changeFrom(values: ContextValues): Change | undefined {
  return values.get(changeKey);
}
