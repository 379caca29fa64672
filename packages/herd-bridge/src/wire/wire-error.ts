import { DroverError } from '@drover/lease-kit';

/** The other end said what the original protocol does not allow, or not in the order in which it is allowed. */
export function wireInvalid(what: string): DroverError {
  return new DroverError({
    code: 'HERD_WIRE_INVALID',
    advice: 'fix-input',
    message: `original Herd protocol: ${what}`,
  });
}

/** Something that has no length of its own went on beyond its bound. */
export function wireTooLarge(what: string, sizeMax: number, unit = 'bytes'): DroverError {
  return new DroverError({
    code: 'HERD_WIRE_TOO_LARGE',
    advice: 'fix-input',
    message: `original Herd protocol: ${what} is longer than ${sizeMax} ${unit}`,
    details: { sizeMax },
  });
}

/** The connection ended in the middle of something. */
export function wireCutShort(what: string): DroverError {
  return new DroverError({
    code: 'HERD_WIRE_CUT_SHORT',
    advice: 'unavailable',
    message: `original Herd protocol: the connection ended within ${what}`,
  });
}

/** Something cannot be said in the original protocol, which has no escapes. */
export function notSendable(field: string, value: string, why: string): DroverError {
  return new DroverError({
    code: 'HERD_WIRE_NOT_SENDABLE',
    advice: 'fix-input',
    message: `${field} ${JSON.stringify(value.slice(0, 128))} cannot be said in the original Herd protocol: ${why}`,
  });
}
