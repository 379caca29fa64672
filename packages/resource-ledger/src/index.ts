export {
  createResourceLedger,
  type OwnerKind,
  type RefusedClaim,
  type ResourceClaim,
  type ResourceLedger,
  type ResourceLedgerOptions,
  type ResourceOwner,
  type ResourceShortage,
} from './resource-ledger.ts';
