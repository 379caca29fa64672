import { isMessage, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import type { HandlerResult, LeaseHandler } from '../lease-handler.ts';
import { assertThat, type TestRunner } from './test-runner.ts';
import { createTestLeaseContext, type TestLeaseContext } from './test-lease-context.ts';

/** A handler and payloads to try it with. */
export interface LeaseHandlerSubject<Payload extends DescMessage, Output extends DescMessage> extends AsyncDisposable {
  readonly handler: LeaseHandler<Payload, Output>;
  /** Work that ends soon and completes. */
  readonly quick: MessageShape<Payload>;
  /** Work that runs until it is stopped. */
  readonly endless: MessageShape<Payload>;
  /**
   * Brings quick work to its end where `run` alone does not, for lease types that end the agent's process: their end is told by
   * `resume`. Absent: `run` does.
   */
  complete?(run: TestLeaseContext): Promise<HandlerResult<Output>>;
}

/** Cases that every `LeaseHandler` must pass. `make` is called once for each. */
export function leaseHandlerCompliance<Payload extends DescMessage, Output extends DescMessage>(
  runner: TestRunner & {
    readonly make: () => Promise<LeaseHandlerSubject<Payload, Output>>;
  },
): void {
  const { describe, test, make } = runner;
  type Subject = LeaseHandlerSubject<Payload, Output>;
  const complete = (subject: Subject, run: TestLeaseContext): Promise<HandlerResult<Output>> =>
    subject.complete?.(run) ?? subject.handler.run(subject.quick, run.context);
  describe('a lease handler', () => {
    test('completes its work with an output of its type', async () => {
      await using subject = await make();
      await using run = await createTestLeaseContext();
      const result = await complete(subject, run);
      assertThat(result.kind === 'completed', `quick work must complete, but was ${result.kind}`);
      const { output } = subject.handler.type;
      assertThat(isMessage(result.output, output), `the output must be a ${output.typeName}`);
    });

    test('does several attempts at the same time', async () => {
      await using subject = await make();
      await using first = await createTestLeaseContext();
      await using second = await createTestLeaseContext({ leaseId: '00000000-0000-4000-8000-000000000002' });
      const results = await Promise.all([complete(subject, first), complete(subject, second)]);
      for (const { kind } of results) assertThat(kind === 'completed', `both must complete, but one was ${kind}`);
    });

    test('reports progress from 0 to 100 only', async () => {
      await using subject = await make();
      await using run = await createTestLeaseContext();
      await complete(subject, run);
      for (const { percent } of run.progress) {
        assertThat(percent >= 0 && percent <= 100, `a progress of ${percent} is not from 0 to 100`);
      }
    });

    test('returns within its grace period when it is asked to stop, and does not say that it completed', async () => {
      await using subject = await make();
      await using run = await createTestLeaseContext();
      const running = subject.handler.run(subject.endless, run.context);
      run.stop({ code: 'cancelled', message: 'not wanted' });
      const late = Promise.withResolvers<'late'>();
      const timer = run.context.clock.schedule(run.context.cancelGraceMs + 1_000, () => late.resolve('late'));
      // Throwing is a way to stop too: it counts as failed.
      const outcome = await Promise.race([
        running.then(({ kind }) => kind).catch(() => 'failed' as const),
        late.promise,
      ]);
      timer.cancel();
      assertThat(outcome !== 'late', `it was still running after its grace period of ${run.context.cancelGraceMs} ms`);
      assertThat(outcome !== 'completed', 'endless work that was stopped must not say that it completed');
    });

    test('says at once whether it refuses, and refuses neither payload here', async () => {
      await using subject = await make();
      const { handler } = subject;
      for (const payload of [subject.quick, subject.endless]) {
        assertThat(handler.refusal?.(payload) === undefined, 'these payloads must not be refused');
      }
    });
  });
}
