/** Bounds of a job runner. What goes beyond is refused with an error, unless said otherwise. */
export interface HerdLimits {
  /** Jobs at once that have not ended. Default 64. */
  readonly jobsMax: number;
  /** Tasks of one job, from its begin to its end. Default 100,000. */
  readonly tasksPerJobMax: number;
  /** Tasks of one job that start together, as the original protocol's do. Default 1,000. */
  readonly tasksTogetherMax: number;
  /** Files that a job brings before its first task, and outputs that it names. Default 10,000 each. */
  readonly filesPerJobMax: number;
  /** Files that a task brings, and outputs that it names. Default 1,000 each. */
  readonly filesPerTaskMax: number;
  /** Arguments, and variables, of a task. Default 10,000 each. */
  readonly argumentsPerTaskMax: number;
  /** Bytes of a task's exe, arguments and environment together. Default 1 MiB. */
  readonly taskBytesMax: number;
  /** Largest output file. A larger one is missing as `OUTPUT_TOO_LARGE`. Default 16 GiB. */
  readonly outputSizeBytesMax: number;
  /**
   * Responses that are kept until they are acknowledged. Items of pipes are left out and counted when half of that is used; with all
   * of it used no task starts until some are acknowledged. Default 4,096.
   */
  readonly responsesKeptMax: number;
  /** The same in bytes. Default 16 MiB. */
  readonly responsesKeptBytesMax: number;
  /** Items of one task's pipe that are passed on, on average a second. Default 200. */
  readonly itemsPerSecondMax: number;
}

/** What holds where the options say nothing. */
export const defaultHerdLimits: HerdLimits = {
  jobsMax: 64,
  tasksPerJobMax: 100_000,
  tasksTogetherMax: 1_000,
  filesPerJobMax: 10_000,
  filesPerTaskMax: 1_000,
  argumentsPerTaskMax: 10_000,
  taskBytesMax: 1024 * 1024,
  outputSizeBytesMax: 16 * 1024 ** 3,
  responsesKeptMax: 4_096,
  responsesKeptBytesMax: 16 * 1024 * 1024,
  itemsPerSecondMax: 200,
};
