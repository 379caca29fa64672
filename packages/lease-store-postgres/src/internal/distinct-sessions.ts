import type { SessionRef } from '@drover/lease-store';

/** The different sessions of a list, numbered from 1 as SQL's arrays are, so that each is verified once. */
export class DistinctSessions {
  readonly agentIds: string[] = [];
  readonly epochs: number[] = [];
  /** For every entry of the list the number of its session, or null. */
  readonly numbers: (number | null)[];

  constructor(list: readonly (SessionRef | undefined)[]) {
    const known = new Map<string, number>();
    this.numbers = list.map((session) => {
      if (!session) return null;
      const key = `${session.epoch} ${session.agentId}`;
      let number = known.get(key);
      if (number === undefined) {
        this.agentIds.push(session.agentId);
        number = this.epochs.push(session.epoch);
        known.set(key, number);
      }
      return number;
    });
  }

  /** A session by its number. */
  at(number: number): SessionRef {
    const agentId = this.agentIds[number - 1];
    const epoch = this.epochs[number - 1];
    if (agentId === undefined || epoch === undefined) throw new RangeError(`no session has the number ${number}`);
    return { agentId, epoch };
  }
}
