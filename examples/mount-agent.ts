import { create } from '@bufbuild/protobuf';
import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import { createLeaseAgent } from '@drover/lease-agent';
import { defineLeaseType, type LeaseHandler } from '@drover/lease-kit';
import { createLeaseClient } from '@drover/lease-transport';

const type = defineLeaseType({ name: 'greeting', payload: StringValueSchema, output: StringValueSchema });
const handler: LeaseHandler<typeof StringValueSchema, typeof StringValueSchema> = {
  type,
  async run({ value }) {
    return { kind: 'completed', output: create(StringValueSchema, { value: `hello, ${value}` }) };
  },
};
const agentId = 'machine-1';
const baseUrl = process.env['DROVER_SERVER'] ?? 'http://127.0.0.1:7613';
const client = createLeaseClient({ baseUrl, headers: { 'drover-agent-id': agentId } });
const stateDir = process.env['STATE_DIR'] ?? '.drover/machine-1';
const agent = createLeaseAgent({ agentId, stateDir }, { client, handlers: [handler] });
await agent.start();
await agent.done;
