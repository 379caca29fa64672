/** An invariant of SPEC.md that a step broke. */
export class Violation extends Error {
  override readonly name = 'Violation';
  /** The number in SPEC.md. */
  readonly invariant: number;

  constructor(invariant: number, message: string) {
    super(message);
    this.invariant = invariant;
  }
}

/** Throws a {@link Violation} unless the condition holds. */
export function insist(condition: boolean, invariant: number, message: () => string): void {
  if (!condition) throw new Violation(invariant, message());
}
