/** The bounds of a job. A job beyond one of them is refused when it is submitted. */
export const jobBounds = {
  batchesMax: 256,
  stepsPerBatchMax: 256,
  inputsPerBatchMax: 256,
  outputsPerBatchMax: 256,
  argumentsPerStepMax: 4_096,
  environmentPerStepMax: 1_024,
  /** Longest argument or value of a variable, in characters. */
  textLengthMax: 131_072,
  attemptsMax: 20,
  /** Outputs of one batch, all files together. */
  outputFilesMax: 100_000,
  jobFileSizeBytesMax: 1_048_576,
  runLimitMsMax: 30 * 24 * 3_600_000,
} as const;

/** Names of batches and steps. */
export const namePattern = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;
