import { appendFileSync } from 'node:fs';
import { create } from '@bufbuild/protobuf';
import { StringValueSchema } from '@bufbuild/protobuf/wkt';
import { defineLeaseType, type HandlerResult, type LeaseContext, type LeaseHandler } from '@drover/lease-kit';
import { createLeaseAgent } from '../lease-agent.ts';
import { createIpcLeaseClient } from './ipc-lease-client.test.fixture.ts';

// An agent as a process of its own, for tests that kill it. Each start of a handler is a line of STARTS_FILE.

const { STATE_DIR, STARTS_FILE, RESUMABLE } = process.env as Record<string, string>;

const started = (how: string, { leaseId }: LeaseContext) => appendFileSync(STARTS_FILE!, `${how} ${leaseId}\n`);
const completed = (value: string): HandlerResult<typeof StringValueSchema> => ({
  kind: 'completed',
  output: create(StringValueSchema, { value }),
});

const handler: LeaseHandler<typeof StringValueSchema, typeof StringValueSchema> = {
  type: defineLeaseType({ name: 'echo', payload: StringValueSchema, output: StringValueSchema }),
  async run({ value }, context) {
    started('run', context);
    if (value === 'restart' || value === 'hand over') {
      await context.log('step').write('it goes down\n');
      await context.goingDown();
      started('down', context);
      if (value === 'hand over') context.handOver();
    } else if (value !== 'hang') return completed(value);
    else await context.log('step').write('written before the crash\n');
    return new Promise((resolve) => {
      context.signal.addEventListener('abort', () => {
        resolve({ kind: 'cancelled', code: 'STOPPED', message: (context.signal.reason as { code: string }).code });
      });
    });
  },
  ...(RESUMABLE
    ? {
        async resume({ value }, context) {
          started('resume', context);
          await context.connected();
          await context.log('step').write('written after the crash\n');
          return completed(`resumed ${value}`);
        },
      }
    : {}),
};

const agent = createLeaseAgent(
  {
    stateDir: STATE_DIR!,
    agentId: 'agent-1',
    leasesMax: 64,
    timing: { backoffMinMs: 5, backoffMaxMs: 50, settleMs: 200 },
  },
  { client: createIpcLeaseClient(), handlers: [handler as unknown as LeaseHandler] },
);
process.on('SIGTERM', () => void agent.drain());
try {
  await agent.start();
  process.exitCode = { drained: 0, unsettled: 1, fenced: 3, quarantined: 4, 'going-down': 5, 'handing-over': 6 }[
    await agent.done
  ];
} catch (error) {
  console.error(error);
  process.exitCode = 2;
}
process.disconnect?.();
