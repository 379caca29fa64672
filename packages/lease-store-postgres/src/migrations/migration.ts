/** One step of the schema. It is never edited once released, and never undone. */
export interface Migration {
  /** Counts from 1 without gaps. */
  readonly id: number;
  readonly name: string;
  /** True if a server that does not know it must not go on. Absent-minded additions are not breaking. */
  readonly isBreaking: boolean;
  /** Statements, run in one transaction. `s` is the quoted schema. */
  statements(s: string): readonly string[];
}
