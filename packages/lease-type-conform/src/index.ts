export { conformLeaseType } from './conform-lease-type.ts';
export { askedConform, conformSourceName, type AskedConform } from './asked-conform.ts';
export {
  ConformCause,
  ConformResultSchema,
  ConformSchema,
  ConformWishSchema,
  WorkspaceRemoval,
  WorkspaceReportSchema,
  WorkspaceSchema,
  type Conform,
  type ConformResult,
  type ConformWish,
  type Workspace,
  type WorkspaceReport,
} from './gen/drover/conform/v1/conform_pb.ts';
