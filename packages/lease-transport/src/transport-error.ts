import { DroverError } from '@drover/lease-kit';
import { droverErrorFromConnect } from '@drover/rpc-errors';

const overLimit = /message size(?: (\d+))? is larger than configured (read|write)MaxBytes (\d+)/;

/**
 * The DroverError of a failed call. A message over the limit, which Connect calls `resource_exhausted` like much else,
 * becomes `MESSAGE_TOO_LARGE` (`fix-input`): sending it again gives the same answer.
 */
export function transportErrorFrom(error: unknown): DroverError {
  const known = droverErrorFromConnect(error);
  if (known.code !== 'RPC_RESOURCE_EXHAUSTED') return known;
  const found = overLimit.exec(known.message);
  if (!found) return known;
  const [, sizeBytes, direction, maxBytes] = found;
  return new DroverError({
    code: 'MESSAGE_TOO_LARGE',
    advice: 'fix-input',
    message: `a message of ${sizeBytes ?? 'too many'} bytes was ${direction === 'write' ? 'not sent' : 'not taken'}: at most ${maxBytes!} are allowed`,
    details: { maxBytes: Number(maxBytes), ...(sizeBytes === undefined ? {} : { sizeBytes: Number(sizeBytes) }) },
    cause: known.cause,
  });
}
