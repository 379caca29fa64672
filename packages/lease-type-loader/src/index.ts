export { createLeaseTypes, type CreateLeaseTypesOptions } from './create-lease-types.ts';
export { packageNamePattern } from './installed-package.ts';
export type { LeaseTypeErrorCode } from './lease-type-errors.ts';
export {
  loadAgentPart,
  loadLeaseType,
  loadServerPart,
  type LoadedLeaseType,
  type LoadedPart,
  type LoadLeaseTypeOptions,
} from './load-lease-type.ts';
