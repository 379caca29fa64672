import type { HerdStanding } from '@drover/herd-protocol';
import type { Meter } from '@drover/lease-kit';

/** What is measured of a job runner. */
export interface HerdMetrics {
  taskEnded(end: string): void;
}

/** Makes the metrics of a job runner. */
export function herdMetrics(
  meter: Meter,
  runner: { standing(): HerdStanding; jobs(): readonly unknown[] },
): HerdMetrics {
  const ends = meter.createCounter('drover_herd_tasks_ended_total', { description: 'Herd tasks by how they ended.' });
  meter
    .createObservableGauge('drover_herd_slots_free', { description: 'Herd tasks that could start now.' })
    .addCallback((observation) => observation.observe(runner.standing().slotsFree));
  meter
    .createObservableGauge('drover_herd_jobs', { description: 'Herd jobs that run or have just ended.' })
    .addCallback((observation) => observation.observe(runner.jobs().length));
  return { taskEnded: (end) => ends.add(1, { end }) };
}
