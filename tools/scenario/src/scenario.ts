/** What a scenario is run with. */
export interface ScenarioContext {
  /** Prints a line for a person. */
  readonly say: (text: string) => void;
  /** Takes what a program reads at the end. */
  readonly result: (report: object) => void;
  readonly signal: AbortSignal;
  readonly agents: number;
  readonly jobs: number;
  /** Leave the folder with all that the processes wrote. */
  readonly keep: boolean;
}

/** Something that a fleet lives through, with real processes. */
export interface Scenario {
  readonly name: string;
  readonly about: string;
  /** True if everything that must be true was. */
  run(context: ScenarioContext): Promise<boolean>;
}
