import type { JobSubmission } from '@drover/control-api';
import { DroverError, type PlannedLease } from '@drover/lease-kit';
import { checkSecrets, type SecretSealer } from '@drover/lease-secrets';
import { inputInvalid } from './input-errors.ts';

/** Seals what one lease of a submission needs; undefined for one that needs nothing. */
export type SealFor = (leaseId: string, lease: PlannedLease) => Uint8Array | undefined;

/**
 * Checks the secrets of a submission against what its leases need, and answers how they are sealed. `isPlanned`: the leases
 * name what they need; otherwise the lease gets all. Throws SECRET_INVALID, SECRET_MISSING, SECRET_UNUSED, and
 * SECRETS_UNAVAILABLE without a sealer. Nothing that it says holds a value.
 */
export function sealerFor(
  { secrets: given }: Pick<JobSubmission, 'secrets'>,
  leases: readonly PlannedLease[],
  isPlanned: boolean,
  where: string,
  sealer: Pick<SecretSealer, 'seal'> | undefined,
): SealFor {
  const secrets = new Map(Object.entries(given));
  const needed = new Set(isPlanned ? leases.flatMap((lease) => lease.secrets ?? []) : secrets.keys());
  const missing = [...needed].find((name) => !secrets.has(name));
  if (missing !== undefined) {
    const names = [...secrets.keys()].join(', ') || 'none';
    throw inputInvalid('SECRET_MISSING', `${where}.secrets`, `a lease needs ${missing}, which was not given`, names);
  }
  if (secrets.size === 0) return () => undefined;
  checkSecrets(secrets, `${where}.secrets`);
  const unused = [...secrets.keys()].find((name) => !needed.has(name));
  if (unused !== undefined) {
    const allowed = [...needed].join(', ') || 'none';
    throw inputInvalid('SECRET_UNUSED', `${where}.secrets.${unused}`, 'no lease of the job needs it', allowed);
  }
  if (sealer === undefined) {
    throw new DroverError({
      code: 'SECRETS_UNAVAILABLE',
      advice: 'fix-input',
      message: 'this server takes no secrets: it shares its database and has no secrets.key_file',
    });
  }
  return (leaseId, lease) => {
    const own = isPlanned ? (lease.secrets ?? []) : [...secrets.keys()];
    if (own.length === 0) return undefined;
    return sealer.seal(leaseId, new Map([...secrets].filter(([name]) => own.includes(name))));
  };
}
