import { HealthCheckResponse_ServingStatus as ServingStatus } from '@drover/standard-protocols';

/** Name that stands for the whole server. */
export const wholeServer = '';

/** Which services take calls. The whole server and each registered service serve from the start to {@link HealthStatuses.close}. */
export class HealthStatuses {
  readonly #statuses = new Map<string, ServingStatus>([[wholeServer, ServingStatus.SERVING]]);
  readonly #listeners = new Map<string, Set<() => void>>();
  #closed = false;

  /** Says whether a service takes calls; the empty name is the whole server. Without effect after {@link close}. */
  set(service: string, serving: boolean): void {
    if (this.#closed) return;
    this.#change(service, serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING);
  }

  /** The status of a service; undefined for one that nobody has registered. */
  get(service: string): ServingStatus | undefined {
    return this.#statuses.get(service);
  }

  /** All statuses by name. */
  entries(): readonly (readonly [string, ServingStatus])[] {
    return [...this.#statuses];
  }

  /** Nothing is served any more, and nothing changes that. */
  close(): void {
    this.#closed = true;
    for (const service of this.#statuses.keys()) this.#change(service, ServingStatus.NOT_SERVING);
  }

  /** Calls `listener` after each change of a service, registered or not, until the returned function is called. */
  watch(service: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(service) ?? new Set();
    this.#listeners.set(service, listeners.add(listener));
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0 && this.#listeners.get(service) === listeners) this.#listeners.delete(service);
    };
  }

  #change(service: string, status: ServingStatus): void {
    if (this.#statuses.get(service) === status) return;
    this.#statuses.set(service, status);
    for (const listener of [...(this.#listeners.get(service) ?? [])]) listener();
  }
}
