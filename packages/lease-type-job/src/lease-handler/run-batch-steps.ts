import { StepEnd, type Batch, type Step, type StepResult } from '../gen/drover/job/v1/job_pb.ts';
import { runStep, type RunStepDeps } from './run-step.ts';
import { StepOrder } from './step-order.ts';
import { stepEndText, stepResultWithout, stepSucceeded } from './step-result.ts';

/** Runs the steps of a batch, as many at once as it holds cores; answers in the order of the file. */
export async function runBatchSteps(batch: Batch, deps: RunStepDeps): Promise<StepResult[]> {
  const { context, progress } = deps;
  const order = new StepOrder(batch.steps);
  const results = new Map<string, StepResult>();
  const concurrency = Math.max(1, context.resources['cores'] ?? 1);
  const running = new Set<Promise<void>>();

  const settle = (step: Step, result: StepResult): void => {
    results.set(step.name, result);
    const skipped = result.end === StepEnd.SKIPPED;
    order.ended(step.name, stepSucceeded(result) ? 'succeeded' : skipped ? 'skipped' : 'failed');
    progress.end(step.name, stepEndText(result));
  };
  const start = (step: Step): void => {
    const run = runStep(step, deps)
      .then((result) => settle(step, result))
      .finally(() => running.delete(run));
    running.add(run);
  };

  // Once the batch is stopped, what has not started was stopped too, whatever it needs.
  const nextHopeless = (): Step | undefined => (context.signal.aborted ? undefined : order.takeHopeless());

  for (;;) {
    for (let step = nextHopeless(); step; step = nextHopeless()) {
      settle(step, stepResultWithout(step.name, StepEnd.SKIPPED, 'STEP_SKIPPED', skippedBecause(step, results)));
    }
    while (!context.signal.aborted && running.size < concurrency) {
      const step = order.takeReady();
      if (!step) break;
      start(step);
    }
    if (running.size === 0) break;
    await Promise.race(running);
  }
  for (const step of order.takeRest()) {
    settle(step, stepResultWithout(step.name, StepEnd.CANCELLED, 'STEP_CANCELLED', 'the batch was stopped before it'));
  }
  return batch.steps.map((step) => results.get(step.name)!);
}

function skippedBecause(step: Step, results: ReadonlyMap<string, StepResult>): string {
  const need = step.needs.find((name) => {
    const result = results.get(name);
    return result !== undefined && !stepSucceeded(result);
  });
  return `skipped: it needs ${need ?? 'a step'}, which did not succeed`;
}
