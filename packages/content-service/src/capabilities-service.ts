import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { zstdAvailable } from '@drover/content-store';
import type { Principal } from '@drover/lease-kit';
import {
  Compressor_Value,
  DigestFunction_Value,
  SymlinkAbsolutePathStrategy_Value,
  type Capabilities,
} from '@drover/standard-protocols';
import type { ResolvedLimits } from './content-service-options.ts';

/** The handler of Capabilities: a store of content, and nothing that executes. */
export function createCapabilitiesService(
  principalOf: (context: HandlerContext) => Principal,
  limits: ResolvedLimits,
): ServiceImpl<typeof Capabilities> {
  const compressors = zstdAvailable ? [Compressor_Value.ZSTD] : [];
  return {
    getCapabilities(_request, context) {
      principalOf(context);
      return {
        cacheCapabilities: {
          digestFunctions: [DigestFunction_Value.SHA256],
          actionCacheUpdateCapabilities: { updateEnabled: false },
          maxBatchTotalSizeBytes: BigInt(limits.batchTotalBytesMax),
          maxCasBlobSizeBytes: BigInt(limits.blobSizeBytesMax),
          symlinkAbsolutePathStrategy: SymlinkAbsolutePathStrategy_Value.DISALLOWED,
          supportedCompressors: compressors,
          supportedBatchUpdateCompressors: compressors,
        },
        deprecatedApiVersion: { major: 2 },
        lowApiVersion: { major: 2 },
        highApiVersion: { major: 2, minor: 3 },
      };
    },
  };
}
