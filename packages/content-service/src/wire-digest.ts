import {
  digestFromWire as sha256DigestFromWire,
  digestInvalid,
  type Digest,
  type WireDigest,
} from '@drover/content-store';
import { DigestFunction_Value } from '@drover/standard-protocols';
import { serviceError } from './service-errors.ts';

/** Length of a hash in hexadecimal digits, of the functions that a client need not name. */
const otherFunctionsByLength: Readonly<Record<number, string>> = {
  32: 'MD5',
  40: 'SHA1',
  66: 'VSO',
  96: 'SHA384',
  128: 'SHA512',
};

/** Refuses every digest function but SHA-256, and takes a request that does not name one for it. */
export function checkDigestFunction(value: DigestFunction_Value): void {
  if (value === DigestFunction_Value.UNKNOWN || value === DigestFunction_Value.SHA256) return;
  throw unsupported(enumName(DigestFunction_Value, value));
}

/** Reads a digest from a message. Throws `DIGEST_INVALID`, or `DIGEST_FUNCTION_UNSUPPORTED` going by the hash's length. */
export function digestFromWire(wire: Readonly<WireDigest> | undefined): Digest {
  if (wire === undefined) throw digestInvalid('(absent)');
  const other = otherFunctionsByLength[wire.hash.length];
  if (other !== undefined && /^[0-9a-f]*$/.test(wire.hash)) throw unsupported(other);
  return sha256DigestFromWire(wire);
}

/** The name of an enum's value, or the number of one that this version does not know. */
export function enumName(values: Readonly<Record<string, number>>, value: number): string {
  return Object.entries(values).find(([, number]) => number === value)?.[0] ?? `number ${value}`;
}

function unsupported(name: string): Error {
  return serviceError('DIGEST_FUNCTION_UNSUPPORTED', `digest function ${name} is not supported: SHA256 is`);
}
