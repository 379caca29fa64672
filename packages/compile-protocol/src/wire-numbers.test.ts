import { create, toBinary } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import {
  CompileOrigin,
  CompilePlaceSchema,
  CompileResultSchema,
  CompileSchema,
  HeartbeatRequestSchema,
} from './index.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

// Written by hand from the numbers in the proto: workers, clients and servers of several versions meet.
test.each([
  [
    'a compile',
    hex(
      toBinary(
        CompileSchema,
        create(CompileSchema, { compileId: 'c', arguments: ['gcc'], workingFolder: '/src', paranoid: true }),
      ),
    ),
    '0a01632203676363' + '2a042f737263' + '5801',
  ],
  [
    'a result',
    hex(toBinary(CompileResultSchema, create(CompileResultSchema, { exitCode: 1, origin: CompileOrigin.CACHE }))),
    '08013002',
  ],
  [
    'a place',
    hex(toBinary(CompilePlaceSchema, create(CompilePlaceSchema, { workerId: 'w', address: 'h:1', taskTokens: ['t'] }))),
    '0a01771203683a31220174',
  ],
  [
    'a heartbeat',
    hex(toBinary(HeartbeatRequestSchema, create(HeartbeatRequestSchema, { epoch: 7n, compiles: 2, draining: true }))),
    '080710024001',
  ],
])('%s has its bytes', (_, bytes, wanted) => {
  expect(bytes).toBe(wanted);
});
