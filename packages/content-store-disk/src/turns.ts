import { setImmediate as nextTurn } from 'node:timers/promises';

const turnMsMax = 2;

/**
 * For many small things that the file system does at once, where a thread for each would cost several times the thing itself:
 * they are done here and now, and between two of them the event loop gets its turn if it waited for long.
 */
export class Turns {
  #sinceMs = performance.now();

  /** Resolves at once, or after the next turn of the event loop. */
  async give(): Promise<void> {
    if (performance.now() - this.#sinceMs < turnMsMax) return;
    await nextTurn();
    this.#sinceMs = performance.now();
  }
}
