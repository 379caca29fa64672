import { isDroverError, systemClock, type Clock, type Histogram, type Meter } from '@drover/lease-kit';
import type { DroverStore } from './drover-store.ts';

/** Seconds, from a round trip on one machine to the time limit of a call. */
const bucketsSeconds = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30];

/** The same store, whose calls are measured: how long each took, by port and method, and whether there was an answer. */
export function measuredStore(store: DroverStore, meter: Meter, clock: Clock = systemClock): DroverStore {
  const durations = meter.createHistogram('drover_store_call_duration_seconds', {
    description: 'How long calls of the store took, by port.method; result is error where it gave no answer.',
    advice: { explicitBucketBoundaries: bucketsSeconds },
  });
  const port = <Port extends object>(name: string, inner: Port): Port => measuredPort(name, inner, durations, clock);
  return {
    queue: port('queue', store.queue),
    attempts: port('attempts', store.attempts),
    sessions: port('sessions', store.sessions),
    drains: port('drains', store.drains),
    jobs: port('jobs', store.jobs),
    logs: port('logs', store.logs),
    agentTasks: port('agentTasks', store.agentTasks),
    access: port('access', store.access),
    audit: port('audit', store.audit),
    pools: port('pools', store.pools),
    agentSettings: port('agentSettings', store.agentSettings),
    enrolments: port('enrolments', store.enrolments),
    rollouts: port('rollouts', store.rollouts),
    agentHealth: port('agentHealth', store.agentHealth),
    workspaces: port('workspaces', store.workspaces),
    compiles: port('compiles', store.compiles),
    signals: store.signals,
    check: (signal) => store.check(signal),
    close: () => store.close(),
    [Symbol.asyncDispose]: () => store[Symbol.asyncDispose](),
  };
}

type Method = (...args: unknown[]) => unknown;

function measuredPort<Port extends object>(name: string, inner: Port, durations: Histogram, clock: Clock): Port {
  const made = new Map<string, Method>();
  return new Proxy(inner, {
    get(target, key) {
      const value: unknown = Reflect.get(target, key, target);
      if (typeof key !== 'string' || typeof value !== 'function') return value;
      let measured = made.get(key);
      if (measured === undefined) {
        measured = measuredMethod(`${name}.${key}`, (value as Method).bind(target), durations, clock);
        made.set(key, measured);
      }
      return measured;
    },
  });
}

function measuredMethod(call: string, method: Method, durations: Histogram, clock: Clock): Method {
  const labels = { ok: { call, result: 'ok' }, error: { call, result: 'error' } } as const;
  return (...args) => {
    const startMs = clock.monotonicMs();
    const record = (result: 'ok' | 'error'): void =>
      durations.record((clock.monotonicMs() - startMs) / 1_000, labels[result]);
    const answer = method(...args);
    if (!(answer instanceof Promise)) return answer;
    return answer.then(
      (value: unknown) => {
        record('ok');
        return value;
      },
      (error: unknown) => {
        // A refusal is an answer; what is measured as an error is a store that does not give one.
        record(isDroverError(error) && error.advice !== 'internal' && error.advice !== 'unavailable' ? 'ok' : 'error');
        throw error;
      },
    );
  };
}
