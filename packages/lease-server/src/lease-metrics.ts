import type { Meter } from '@drover/lease-kit';
import type { AttemptOutcome } from '@drover/lease-store';
import type { LeaseServerStatus } from './lease-server.ts';

/** Counts what becomes of attempts on one server. */
export class LeaseMetrics {
  readonly #offered;
  readonly #accepted;
  readonly #ended;
  readonly #sources: ReadonlyMap<string, unknown>;

  /** `sources`: by name; others, of whose leases the store may tell, count as one. */
  constructor(meter: Meter, sources: ReadonlyMap<string, unknown>) {
    this.#sources = sources;
    this.#offered = meter.createCounter('drover_attempts_offered_total', {
      description: 'Attempts that this server has offered to agents.',
    });
    this.#accepted = meter.createCounter('drover_attempts_accepted_total', {
      description: 'Attempts that agents have accepted from this server.',
    });
    this.#ended = meter.createCounter('drover_attempts_ended_total', {
      description: 'Attempts whose end this server has recorded.',
    });
  }

  offered(source: string): void {
    this.#offered.add(1, { source: this.#known(source) });
  }

  accepted(source: string): void {
    this.#accepted.add(1, { source: this.#known(source) });
  }

  /** `final`: the lease has ended with it; otherwise there is another attempt. */
  ended(source: string, outcome: AttemptOutcome, final: boolean): void {
    this.#ended.add(1, { source: this.#known(source), outcome, final });
  }

  #known(source: string): string {
    return this.#sources.has(source) ? source : 'other';
  }
}

/** Shows a server's status, which is looked at when somebody reads the metrics. */
export function observeStatus(meter: Meter, status: () => LeaseServerStatus): void {
  const gauge = (name: string, description: string, value: (now: LeaseServerStatus) => number): void =>
    meter.createObservableGauge(name, { description }).addCallback((seen) => seen.observe(value(status())));
  gauge('drover_server_ready', '1 if this server takes sessions and work and its store answers.', ({ ready }) =>
    ready ? 1 : 0,
  );
  gauge('drover_server_sessions', 'Sessions of agents on this server.', ({ sessions }) => sessions);
  gauge('drover_server_sessions_linked', 'Sessions with a stream or polls.', ({ linked }) => linked);
  gauge('drover_server_agents_hungry', 'Agents of this server that wait for work.', ({ hungry }) => hungry);
  gauge('drover_server_attempts', 'Attempts that the sessions of this server hold.', ({ attempts }) => attempts);
  gauge('drover_server_writes_pending', 'Writes of attempts on their way to the store.', (now) => now.pendingWrites);
  gauge('drover_server_logs_pending_bytes', 'Logs on their way to the store.', (now) => now.pendingLogBytes);
}
