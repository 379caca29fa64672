import { create, toBinary } from '@bufbuild/protobuf';
import { expect, test } from 'vitest';
import {
  AgentAnnouncementSchema,
  AgentAvailability,
  DiscoveryRequestSchema,
  HerdTaskSchema,
  RunJobRequestSchema,
  TaskEnd,
  TaskEndedSchema,
} from './index.ts';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

// Written by hand from the numbers in the proto: agents and clients of several versions meet on one LAN.
test.each([
  [
    'a request',
    hex(toBinary(DiscoveryRequestSchema, create(DiscoveryRequestSchema, { nonce: Uint8Array.of(7), protocols: [1] }))),
    '0a0107120101',
  ],
  [
    'an announcement',
    hex(
      toBinary(
        AgentAnnouncementSchema,
        create(AgentAnnouncementSchema, {
          protocol: 1,
          agentId: 'a',
          availability: AgentAvailability.BUSY,
          port: 7614,
          slotsFree: 3,
        }),
      ),
    ),
    '080112016130023 8be3b6803'.replace(' ', ''),
  ],
  [
    'a task that is added',
    hex(
      toBinary(
        RunJobRequestSchema,
        create(RunJobRequestSchema, {
          message: {
            case: 'add',
            value: { tasks: [create(HerdTaskSchema, { name: 'n', exe: 'e', arguments: ['x'] })] },
          },
        }),
      ),
    ),
    '1a0b0a090a016e1201651a0178',
  ],
  [
    'a task that has ended',
    hex(toBinary(TaskEndedSchema, create(TaskEndedSchema, { task: 'n', exitCode: 0, end: TaskEnd.SUCCEEDED }))),
    '0a016e10002001',
  ],
])('%s has its bytes', (_, bytes, wanted) => {
  expect(bytes).toBe(wanted);
});
