/** What a series of samples comes to, in the unit of the samples. */
export interface Summary {
  readonly count: number;
  readonly min: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
  readonly mean: number;
}

/**
 * The value below which a share of the samples lies, interpolated linearly between the two next to it (Hyndman and Fan's
 * type 7, as NumPy and spreadsheets do it). `share` is from 0 to 1. Throws a RangeError without samples.
 */
export function quantile(samples: readonly number[], share: number): number {
  if (!(share >= 0 && share <= 1)) throw new RangeError(`share ${share}: allowed are 0 to 1`);
  return quantileOfSorted(sorted(samples), share);
}

/** The middle of the samples. Throws a RangeError without samples. */
export function median(samples: readonly number[]): number {
  return quantile(samples, 0.5);
}

/** Throws a RangeError without samples. */
export function summarize(samples: readonly number[]): Summary {
  const values = sorted(samples);
  return {
    count: values.length,
    min: quantileOfSorted(values, 0),
    p50: quantileOfSorted(values, 0.5),
    p90: quantileOfSorted(values, 0.9),
    p99: quantileOfSorted(values, 0.99),
    max: quantileOfSorted(values, 1),
    mean: values.reduce((sum, value) => sum + value, 0) / values.length,
  };
}

/** Rounded to so many significant digits, for figures that people compare. */
export function rounded(value: number, digits = 4): number {
  return Number(value.toPrecision(digits));
}

function sorted(samples: readonly number[]): number[] {
  if (samples.length === 0) throw new RangeError('there are no samples');
  if (samples.some((value) => !Number.isFinite(value))) throw new RangeError('a sample is not a number');
  return [...samples].sort((a, b) => a - b);
}

function quantileOfSorted(values: readonly number[], share: number): number {
  const place = share * (values.length - 1);
  const below = Math.floor(place);
  const low = values[below] as number;
  const high = values[Math.ceil(place)] as number;
  return low + (high - low) * (place - below);
}
