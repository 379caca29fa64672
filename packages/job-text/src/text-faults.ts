import { DroverError } from '@drover/lease-kit';

const shownMax = 10;

/** The error for a file with faults, one a line, each with its place: advice `fix-input`. At most ten are told. */
export function textFaults(code: string, faults: readonly string[]): DroverError {
  const shown = faults.slice(0, shownMax);
  if (faults.length > shown.length) shown.push(`and ${faults.length - shown.length} more`);
  return new DroverError({ code, advice: 'fix-input', message: shown.join('\n'), details: { faults: faults.length } });
}
