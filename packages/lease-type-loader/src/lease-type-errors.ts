import { DroverError } from '@drover/lease-kit';

/** What can be wrong with the package of a lease type; every code has the advice `fix-input`. */
export type LeaseTypeErrorCode =
  /** No package of that name where it was looked for. */
  | 'LEASE_TYPE_NOT_INSTALLED'
  /** The package lacks an export, or exports something else. */
  | 'LEASE_TYPE_PACKAGE_INVALID'
  /** Made with a lease-kit whose contract is not this app's. */
  | 'LEASE_TYPE_CONTRACT_MISMATCH'
  /** Its code threw while it was loaded or made. */
  | 'LEASE_TYPE_FAILED'
  /** Two lease types have one name or take one payload. */
  | 'LEASE_TYPE_TWICE'
  /** It asks for a collaborator that this app does not offer. */
  | 'LEASE_TYPE_NEEDS_UNKNOWN'
  /** Configuration for a lease type that is not loaded. */
  | 'LEASE_TYPE_UNUSED_CONFIG';

/** An error about the package `packageName`. */
export function leaseTypeError(
  code: LeaseTypeErrorCode,
  packageName: string,
  message: string,
  cause?: unknown,
): DroverError {
  return new DroverError({
    code,
    advice: 'fix-input',
    message: `lease type ${packageName}: ${message}`,
    details: { package: packageName },
    ...(cause === undefined ? {} : { cause }),
  });
}
