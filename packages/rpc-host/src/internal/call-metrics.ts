import { Code } from '@connectrpc/connect';
import { systemClock, type Clock, type Meter } from '@drover/lease-kit';
import type { CallObserver } from '@drover/rpc-errors';

/** Seconds, from an answer out of memory to one that waited for a slow store. */
const bucketsSeconds = [0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10];

/** Counts calls by method and code, and measures those that answer once. Methods are those that are served, so they are few. */
export function callMetrics(meter: Meter, clock: Clock = systemClock): CallObserver {
  const calls = meter.createCounter('drover_rpc_calls_total', {
    description: 'Calls that have ended, by method and gRPC status code.',
  });
  const durations = meter.createHistogram('drover_rpc_duration_seconds', {
    description: 'How long calls took that have one message each way.',
    advice: { explicitBucketBoundaries: bucketsSeconds },
  });
  return ({ service, method, unary }) => {
    const startMs = clock.monotonicMs();
    return (code) => {
      calls.add(1, { service, method, code: code === undefined ? 'OK' : statusName(code) });
      if (unary) durations.record((clock.monotonicMs() - startMs) / 1_000, { service, method });
    };
  };
}

/** As gRPC writes it: `NotFound` is `NOT_FOUND`, and `Canceled` is `CANCELLED`. */
function statusName(code: Code): string {
  if (code === Code.Canceled) return 'CANCELLED';
  return Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, '_').toUpperCase();
}
