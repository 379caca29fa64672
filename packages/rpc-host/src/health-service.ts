import type { ServiceImpl } from '@connectrpc/connect';
import { DroverError } from '@drover/lease-kit';
import { HealthCheckResponse_ServingStatus as ServingStatus, type Health } from '@drover/standard-protocols';
import type { HealthStatuses } from './health-statuses.ts';

/** Most services that List answers, after gRFC A90. */
export const listedServicesMax = 100;

/**
 * grpc.health.v1.Health over statuses, after https://github.com/grpc/grpc/blob/master/doc/health-checking.md. When
 * `draining` aborts, every Watch says NOT_SERVING and ends, so that watchers hold up no shutdown.
 */
export function createHealthService(statuses: HealthStatuses, draining: AbortSignal): ServiceImpl<typeof Health> {
  return {
    check({ service }) {
      const status = statuses.get(service);
      if (status === undefined) {
        throw new DroverError({
          code: 'SERVICE_UNKNOWN',
          advice: 'not-found',
          message: `There is no service ${JSON.stringify(service.slice(0, 200))} here; List names those that are.`,
        });
      }
      return { status };
    },

    list() {
      const entries = statuses.entries();
      if (entries.length > listedServicesMax) {
        throw new DroverError({
          code: 'TOO_MANY_SERVICES',
          advice: 'exhausted',
          message: `${entries.length} services are registered; List answers at most ${listedServicesMax}.`,
        });
      }
      return { statuses: Object.fromEntries(entries.map(([service, status]) => [service, { status }])) };
    },

    async *watch({ service }, { signal }) {
      let wake: () => void = () => undefined;
      const stopWatching = statuses.watch(service, () => wake());
      const woken = () => wake();
      signal.addEventListener('abort', woken);
      draining.addEventListener('abort', woken);
      try {
        let sent: ServingStatus | undefined;
        while (!signal.aborted) {
          // Created before the status is read: a change in between must not be missed.
          const changed = new Promise<void>((resolve) => (wake = resolve));
          const status = statuses.get(service) ?? ServingStatus.SERVICE_UNKNOWN;
          if (status !== sent) yield { status };
          sent = status;
          if (draining.aborted) return;
          if (status === (statuses.get(service) ?? ServingStatus.SERVICE_UNKNOWN)) await changed;
        }
      } finally {
        stopWatching();
        signal.removeEventListener('abort', woken);
        draining.removeEventListener('abort', woken);
      }
    },
  };
}
