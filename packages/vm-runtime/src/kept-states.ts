/** States of machines that are made once and used often, by image and size. */
export class KeptStates<State> {
  readonly #states = new Map<string, Promise<State>>();

  /**
   * The state of an image with bounds of that name; `make` is called if nobody has it or makes it. What fails is made anew the next
   * time. An abort ends the waiting with the signal's reason, not the making.
   */
  async get(digest: string, name: string, make: () => Promise<State>, signal: AbortSignal): Promise<State> {
    const key = `${digest} ${name}`;
    let made = this.#states.get(key);
    if (made === undefined) {
      made = make();
      this.#states.set(key, made);
      made.catch(() => this.#states.delete(key));
    }
    const { promise: aborted, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    aborted.catch(() => undefined);
    try {
      return await Promise.race([made, aborted]);
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  /** Forgets all states of an image. */
  forget(digest: string): void {
    for (const key of this.#states.keys()) if (key.startsWith(`${digest} `)) this.#states.delete(key);
  }

  /** Resolves when none is being made. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#states.values());
  }
}
