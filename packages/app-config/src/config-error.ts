import { DroverError } from '@drover/lease-kit';

/** CONFIG_INVALID, advice `fix-input`: one line for each thing that is wrong, with its place and what is allowed. */
export function configInvalid(faults: readonly string[]): DroverError {
  return new DroverError({
    code: 'CONFIG_INVALID',
    advice: 'fix-input',
    message: faults.slice(0, 20).join('\n'),
    details: { faults: faults.length },
  });
}
