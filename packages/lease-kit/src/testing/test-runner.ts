/** What the compliance cases need of a test runner; vitest, jest and node:test with an `expect` have it. */
export interface TestRunner {
  describe(name: string, body: () => void): void;
  test(name: string, body: () => Promise<void>): void;
}

/** Fails a case with a sentence that says what is wrong with the implementation. */
export function assertThat(holds: boolean, otherwise: string): asserts holds {
  if (!holds) throw new Error(otherwise);
}
