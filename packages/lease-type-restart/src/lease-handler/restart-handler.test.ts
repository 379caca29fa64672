import { create } from '@bufbuild/protobuf';
import { createTestLeaseContext, leaseHandlerCompliance, type TestLeaseContext } from '@drover/lease-kit/testing';
import { describe, expect, test } from 'vitest';
import { RestartSchema } from '../gen/drover/restart/v1/restart_pb.ts';
import { createRestartHandler } from './restart-handler.ts';

const payload = create(RestartSchema, { reason: 'a new kernel' });
const handler = createRestartHandler({ command: ['/bin/sh', '-c', 'exit 0'] });

/** The process ends with its machine, and the next one starts with it. */
async function complete(run: TestLeaseContext, bootId = 'next-boot') {
  const running = handler.run(payload, run.context);
  await expect.poll(() => run.progress.at(-1)?.percent).toBe(75);
  run.stop({ code: 'going-down', message: 'the agent ends' });
  await running;
  const { attemptDir } = run.context;
  await using next = await createTestLeaseContext({ attemptDir, bootId });
  return handler.resume!(payload, next.context);
}

leaseHandlerCompliance({
  describe,
  test,
  make: async () => ({
    handler,
    quick: payload,
    endless: payload,
    complete,
    [Symbol.asyncDispose]: async () => undefined,
  }),
});

test('completes with both boot ids', async () => {
  await using run = await createTestLeaseContext();
  const result = await complete(run);
  expect(result).toMatchObject({
    kind: 'completed',
    output: { bootIdBefore: 'test-boot', bootIdAfter: 'next-boot' },
  });
});

test('fails with the same boot id', async () => {
  await using run = await createTestLeaseContext();
  const impatient = createRestartHandler({ command: ['/bin/sh', '-c', 'exit 0'], downWithinMs: 1 });
  await impatient.run(payload, run.context);
  expect(await impatient.resume!(payload, run.context)).toMatchObject({
    kind: 'failed',
    code: 'RESTART_NOT_HAPPENED',
  });
});

test('refuses on a machine that does it for nobody', () => {
  expect(createRestartHandler({ command: [] }).refusal!(payload)).toMatchObject({ code: 'RESTART_DISABLED' });
});
