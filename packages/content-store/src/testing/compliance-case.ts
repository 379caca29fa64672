/** One thing that every implementation of a port does. `run` rejects with an assertion error if `subject` does not. */
export interface ComplianceCase<Subject> {
  readonly name: string;
  run(subject: Subject): Promise<void>;
}
