// Remote Execution API v2: content-addressed storage.
export {
  ActionCacheUpdateCapabilitiesSchema,
  BatchReadBlobsRequestSchema,
  BatchReadBlobsResponse_ResponseSchema,
  BatchReadBlobsResponseSchema,
  BatchUpdateBlobsRequest_RequestSchema,
  BatchUpdateBlobsRequestSchema,
  BatchUpdateBlobsResponse_ResponseSchema,
  BatchUpdateBlobsResponseSchema,
  CacheCapabilitiesSchema,
  Capabilities,
  Compressor_Value,
  ContentAddressableStorage,
  DigestFunction_Value,
  DigestSchema,
  DirectoryNodeSchema,
  DirectorySchema,
  ExecutionCapabilitiesSchema,
  FileNodeSchema,
  FindMissingBlobsRequestSchema,
  FindMissingBlobsResponseSchema,
  GetCapabilitiesRequestSchema,
  GetTreeRequestSchema,
  GetTreeResponseSchema,
  NodePropertiesSchema,
  NodePropertySchema,
  ServerCapabilitiesSchema,
  SymlinkAbsolutePathStrategy_Value,
  SymlinkNodeSchema,
  TreeSchema,
  type BatchReadBlobsRequest,
  type BatchReadBlobsResponse,
  type BatchReadBlobsResponse_Response,
  type BatchUpdateBlobsRequest,
  type BatchUpdateBlobsRequest_Request,
  type BatchUpdateBlobsResponse,
  type BatchUpdateBlobsResponse_Response,
  type CacheCapabilities,
  type Directory,
  type DirectoryNode,
  type FileNode,
  type FindMissingBlobsRequest,
  type FindMissingBlobsResponse,
  type GetCapabilitiesRequest,
  type GetTreeRequest,
  type GetTreeResponse,
  type ServerCapabilities,
  type SymlinkNode,
  type Tree,
} from './gen/build/bazel/remote/execution/v2/remote_execution_pb.ts';
export { SemVerSchema, type SemVer } from './gen/build/bazel/semver/semver_pb.ts';

// google.bytestream.
export {
  ByteStream,
  QueryWriteStatusRequestSchema,
  QueryWriteStatusResponseSchema,
  ReadRequestSchema,
  ReadResponseSchema,
  WriteRequestSchema,
  WriteResponseSchema,
  type QueryWriteStatusRequest,
  type QueryWriteStatusResponse,
  type ReadRequest,
  type ReadResponse,
  type WriteRequest,
  type WriteResponse,
} from './gen/google/bytestream/bytestream_pb.ts';

// google.rpc.
export { ErrorInfoSchema, RetryInfoSchema, type ErrorInfo, type RetryInfo } from './gen/google/rpc/error_details_pb.ts';
export { StatusSchema, type Status } from './gen/google/rpc/status_pb.ts';

// grpc.health.v1 and grpc.reflection.
export {
  Health,
  HealthCheckRequestSchema,
  HealthCheckResponse_ServingStatus,
  HealthCheckResponseSchema,
  HealthListResponseSchema,
  type HealthCheckRequest,
  type HealthCheckResponse,
  type HealthListResponse,
} from './gen/grpc/health/v1/health_pb.ts';
export {
  ServerReflection,
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
  type ServerReflectionRequest,
  type ServerReflectionResponse,
} from './gen/grpc/reflection/v1/reflection_pb.ts';
export {
  ServerReflection as ServerReflectionV1Alpha,
  ServerReflectionRequestSchema as ServerReflectionRequestV1AlphaSchema,
  ServerReflectionResponseSchema as ServerReflectionResponseV1AlphaSchema,
  type ServerReflectionRequest as ServerReflectionRequestV1Alpha,
  type ServerReflectionResponse as ServerReflectionResponseV1Alpha,
} from './gen/grpc/reflection/v1alpha/reflection_pb.ts';
