/** What a suite measured. */
export interface SuiteResult {
  readonly suite: string;
  /** By name; the unit stands last in the name. */
  readonly figures: Readonly<Record<string, number>>;
  /** Drover over peer. */
  readonly ratios: Readonly<Record<string, number>>;
}

/** What every suite is given. */
export interface SuiteContext {
  /** Tells people what happens: configurations, raw samples, figures. One line or several. */
  readonly say: (text: string) => void;
  /** Aborted when the user wants an end: everything that was started is stopped. */
  readonly signal: AbortSignal;
  /** Shortens everything, to see that a suite runs; the figures mean nothing. */
  readonly quick: boolean;
}

/** One benchmark. */
export interface Suite {
  readonly name: string;
  /** One line for the usage text. */
  readonly about: string;
  run(context: SuiteContext): Promise<SuiteResult>;
}
