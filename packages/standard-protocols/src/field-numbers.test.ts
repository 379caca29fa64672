import type { DescMessage, DescService } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import {
  BatchReadBlobsRequestSchema,
  BatchReadBlobsResponse_ResponseSchema,
  BatchUpdateBlobsRequest_RequestSchema,
  BatchUpdateBlobsRequestSchema,
  BatchUpdateBlobsResponse_ResponseSchema,
  ByteStream,
  CacheCapabilitiesSchema,
  Capabilities,
  ContentAddressableStorage,
  DigestSchema,
  DirectoryNodeSchema,
  DirectorySchema,
  FileNodeSchema,
  FindMissingBlobsRequestSchema,
  FindMissingBlobsResponseSchema,
  GetTreeRequestSchema,
  GetTreeResponseSchema,
  QueryWriteStatusResponseSchema,
  ReadRequestSchema,
  ReadResponseSchema,
  ServerCapabilitiesSchema,
  StatusSchema,
  SymlinkNodeSchema,
  WriteRequestSchema,
} from './index.ts';

const numbers = (message: DescMessage): string =>
  message.fields.map((field) => `${field.name}=${field.number}`).join(' ');
const methods = (service: DescService): string =>
  service.methods.map((method) => `${method.name}:${method.methodKind}`).join(' ');

/** Read from bazelbuild/remote-apis becdd8f and googleapis; a peer that speaks the standard depends on each. */
const standard: readonly (readonly [DescMessage, string, string])[] = [
  [DigestSchema, 'build.bazel.remote.execution.v2.Digest', 'hash=1 size_bytes=2'],
  [DirectorySchema, 'build.bazel.remote.execution.v2.Directory', 'files=1 directories=2 symlinks=3 node_properties=5'],
  [FileNodeSchema, 'build.bazel.remote.execution.v2.FileNode', 'name=1 digest=2 is_executable=4 node_properties=6'],
  [DirectoryNodeSchema, 'build.bazel.remote.execution.v2.DirectoryNode', 'name=1 digest=2'],
  [SymlinkNodeSchema, 'build.bazel.remote.execution.v2.SymlinkNode', 'name=1 target=2 node_properties=4'],
  [
    FindMissingBlobsRequestSchema,
    'build.bazel.remote.execution.v2.FindMissingBlobsRequest',
    'instance_name=1 blob_digests=2 digest_function=3',
  ],
  [
    FindMissingBlobsResponseSchema,
    'build.bazel.remote.execution.v2.FindMissingBlobsResponse',
    'missing_blob_digests=2',
  ],
  [
    BatchUpdateBlobsRequestSchema,
    'build.bazel.remote.execution.v2.BatchUpdateBlobsRequest',
    'instance_name=1 requests=2 digest_function=5',
  ],
  [
    BatchUpdateBlobsRequest_RequestSchema,
    'build.bazel.remote.execution.v2.BatchUpdateBlobsRequest.Request',
    'digest=1 data=2 compressor=3',
  ],
  [
    BatchUpdateBlobsResponse_ResponseSchema,
    'build.bazel.remote.execution.v2.BatchUpdateBlobsResponse.Response',
    'digest=1 status=2',
  ],
  [
    BatchReadBlobsRequestSchema,
    'build.bazel.remote.execution.v2.BatchReadBlobsRequest',
    'instance_name=1 digests=2 acceptable_compressors=3 digest_function=4',
  ],
  [
    BatchReadBlobsResponse_ResponseSchema,
    'build.bazel.remote.execution.v2.BatchReadBlobsResponse.Response',
    'digest=1 data=2 status=3 compressor=4',
  ],
  [
    GetTreeRequestSchema,
    'build.bazel.remote.execution.v2.GetTreeRequest',
    'instance_name=1 root_digest=2 page_size=3 page_token=4 digest_function=5',
  ],
  [GetTreeResponseSchema, 'build.bazel.remote.execution.v2.GetTreeResponse', 'directories=1 next_page_token=2'],
  [
    ServerCapabilitiesSchema,
    'build.bazel.remote.execution.v2.ServerCapabilities',
    'cache_capabilities=1 execution_capabilities=2 deprecated_api_version=3 low_api_version=4 high_api_version=5',
  ],
  [
    CacheCapabilitiesSchema,
    'build.bazel.remote.execution.v2.CacheCapabilities',
    'digest_functions=1 action_cache_update_capabilities=2 cache_priority_capabilities=3 max_batch_total_size_bytes=4 ' +
      'symlink_absolute_path_strategy=5 supported_compressors=6 supported_batch_update_compressors=7 ' +
      'max_cas_blob_size_bytes=8 split_blob_support=9 splice_blob_support=10',
  ],
  [ReadRequestSchema, 'google.bytestream.ReadRequest', 'resource_name=1 read_offset=2 read_limit=3'],
  [ReadResponseSchema, 'google.bytestream.ReadResponse', 'data=10'],
  [WriteRequestSchema, 'google.bytestream.WriteRequest', 'resource_name=1 write_offset=2 finish_write=3 data=10'],
  [QueryWriteStatusResponseSchema, 'google.bytestream.QueryWriteStatusResponse', 'committed_size=1 complete=2'],
  [StatusSchema, 'google.rpc.Status', 'code=1 message=2 details=3'],
];

test.each(standard)('%s has the standard name and numbers', (schema, name, fields) => {
  expect(schema.typeName).toBe(name);
  expect(numbers(schema)).toBe(fields);
});

test('the services have the standard names and methods', () => {
  expect(ContentAddressableStorage.typeName).toBe('build.bazel.remote.execution.v2.ContentAddressableStorage');
  expect(methods(ContentAddressableStorage)).toBe(
    'FindMissingBlobs:unary BatchUpdateBlobs:unary BatchReadBlobs:unary GetTree:server_streaming',
  );
  expect(Capabilities.typeName).toBe('build.bazel.remote.execution.v2.Capabilities');
  expect(methods(Capabilities)).toBe('GetCapabilities:unary');
  expect(ByteStream.typeName).toBe('google.bytestream.ByteStream');
  expect(methods(ByteStream)).toBe('Read:server_streaming Write:client_streaming QueryWriteStatus:unary');
});
