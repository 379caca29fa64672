/** One rule that keeps an end from doing harm. `holds` says whether the step may go on. */
export interface GuardRow {
  /** The number of the invariant in SPEC.md that the exhaustive check sees broken first without it. */
  readonly invariant: number;
  readonly says: string;
  readonly holds: (...facts: never[]) => boolean;
}

/**
 * Every guard of both machines and of the store, by name. The steps ask them through a {@link Guards} set, so that the
 * exhaustive check can remove each in turn and show that something breaks.
 */
export const guardRows = {
  'server-ignores-other-epochs': {
    invariant: 7,
    says: 'A copy of another session or epoch changes nothing on the server.',
    holds: (copyEpoch: number, ownEpoch: number): boolean => copyEpoch === ownEpoch,
  },
  'agent-ignores-other-epochs': {
    invariant: 2,
    says: 'A copy of another session or epoch changes nothing on the agent.',
    holds: (copyEpoch: number, ownEpoch: number): boolean => copyEpoch === ownEpoch,
  },
  'server-ignores-older-copies': {
    invariant: 9,
    says: 'A copy older than one that was applied changes nothing on the server.',
    holds: (copyRevision: number, applied: number): boolean => copyRevision >= applied,
  },
  'agent-ignores-older-copies': {
    invariant: 2,
    says: 'A copy older than one that was applied changes nothing on the agent.',
    holds: (copyRevision: number, applied: number): boolean => copyRevision >= applied,
  },
  'server-verifies-digests': {
    invariant: 2,
    says: 'A digest that does not stand for the list that the server remembers asks for the whole copy.',
    holds: (received: string, computed: string): boolean => received === computed,
  },
  'agent-verifies-digests': {
    invariant: 10,
    says: 'A digest that does not stand for the list that the agent remembers asks for the whole copy.',
    holds: (received: string, computed: string): boolean => received === computed,
  },
  'nothing-before-loaded': {
    invariant: 6,
    says: 'A server applies and sends nothing before it has loaded the agent’s attempts completely.',
    holds: (loaded: boolean): boolean => loaded,
  },
  'loss-needs-acknowledged-absence': {
    invariant: 2,
    says: 'An attempt ends as lost only by a copy that acknowledges the revision that listed it.',
    holds: (acknowledged: number, listedRevision: number): boolean => acknowledged >= listedRevision,
  },
  'unoffered-needs-unsent': {
    invariant: 2,
    says: 'An attempt ends as cancelled without the agent only if no sent copy has listed it.',
    holds: (sent: boolean): boolean => !sent,
  },
  'server-acknowledges-persisted': {
    invariant: 7,
    says: 'A server acknowledges a revision only when everything that follows from it is persisted.',
    holds: (allPersisted: boolean): boolean => allPersisted,
  },
  'settle-after-persisted': {
    invariant: 7,
    says: 'A server drops an attempt and tells its source only when the end is persisted.',
    holds: (persisted: boolean): boolean => persisted,
  },
  'end-decided-once': {
    invariant: 4,
    says: 'An attempt whose end is decided takes no other end.',
    holds: (decided: boolean): boolean => !decided,
  },
  'store-fences-writes': {
    invariant: 4,
    says: 'A write from an old epoch changes nothing in the store and is told so.',
    holds: (writeEpoch: number, storeEpoch: number): boolean => writeEpoch === storeEpoch,
  },
  'journal-before-start': {
    invariant: 7,
    says: 'A handler starts only when the acceptance is in the journal.',
    holds: (journalled: boolean): boolean => journalled,
  },
  'journal-before-report': {
    invariant: 7,
    says: 'An end is reported only when it is in the journal.',
    holds: (journalled: boolean): boolean => journalled,
  },
  'journal-before-forget': {
    invariant: 7,
    says: 'What an attempt left is removed only when the journal says that it is dropped.',
    holds: (journalled: boolean): boolean => journalled,
  },
  'take-once': {
    invariant: 2,
    says: 'An offer of an attempt that the agent holds is not taken up again.',
    holds: (held: boolean): boolean => !held,
  },
  'resume-not-run': {
    invariant: 3,
    says: 'An attempt that an earlier process accepted is resumed, never started.',
    holds: (fromEarlierProcess: boolean): boolean => !fromEarlierProcess,
  },
  'agent-acknowledges-decided': {
    invariant: 2,
    says: 'An agent acknowledges a revision only when every offer in it is accepted and journalled, or refused.',
    holds: (allDecided: boolean): boolean => allDecided,
  },
  'orphan-needs-acknowledged-absence': {
    invariant: 2,
    says: 'An agent stops an orphan only by a copy that acknowledges the revision that listed it.',
    holds: (acknowledged: number, listedRevision: number): boolean => acknowledged >= listedRevision,
  },
  'finished-kept-until-acknowledged': {
    invariant: 2,
    says: 'An agent drops an end only by a copy that acknowledges the revision that reported it.',
    holds: (acknowledged: number, listedRevision: number): boolean => acknowledged >= listedRevision,
  },
  'going-down-told-when-acknowledged': {
    invariant: 11,
    says: 'A handler hears that its going down is persisted only by a copy that acknowledges the revision that said so.',
    holds: (acknowledged: number, listedRevision: number): boolean => acknowledged >= listedRevision,
  },
  'coming-back-undoes-going-down': {
    invariant: 13,
    says: 'The store forgets that an agent goes down when another process of it proves the attempt.',
    holds: (bySameProcess: boolean): boolean => bySameProcess,
  },
  'completed-by-absence-needs-going-down': {
    invariant: 13,
    says: 'The store ends an attempt as completed by absence only if going down is persisted.',
    holds: (goingDownPersisted: boolean): boolean => goingDownPersisted,
  },
  'start-limit-of-offers': {
    invariant: 12,
    says: 'A limit of time to start ends only what the agent is not known to have taken.',
    holds: (offeredAndUnanswered: boolean): boolean => offeredAndUnanswered,
  },
  'refused-kept-until-acknowledged': {
    invariant: 2,
    says: 'An agent drops a refusal only by a copy that acknowledges the revision that reported it.',
    holds: (acknowledged: number, listedRevision: number): boolean => acknowledged >= listedRevision,
  },
} satisfies Record<string, GuardRow>;

/** The name of a guard. */
export type GuardName = keyof typeof guardRows;

/** The guards that a step asks. */
export type Guards = { readonly [Name in GuardName]: (typeof guardRows)[Name]['holds'] };

/** All names, in the order of the table. */
export const guardNames: readonly GuardName[] = Object.keys(guardRows) as GuardName[];

/** Every guard but the named ones, which always let pass. For the exhaustive check alone. */
export function guardsWithout(...removed: readonly GuardName[]): Guards {
  const entries = guardNames.map((name) => [name, removed.includes(name) ? () => true : guardRows[name].holds]);
  return Object.fromEntries(entries) as Guards;
}

/** Every guard: what the steps ask unless told otherwise. */
export const allGuards: Guards = guardsWithout();
