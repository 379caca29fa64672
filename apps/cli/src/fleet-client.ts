import { createClient, type Client, type Transport } from '@connectrpc/connect';
import { createGrpcTransport, Http2SessionManager } from '@connectrpc/connect-node';
import { createRemoteContentStore } from '@drover/content-store-remote';
import type { ContentStore } from '@drover/content-store';
import { FleetService, JobService } from '@drover/control-api';

/** A server as the command line calls it. */
export interface FleetClient extends Disposable {
  readonly url: string;
  readonly jobs: Client<typeof JobService>;
  readonly fleet: Client<typeof FleetService>;
  readonly content: ContentStore;
}

/** How long a call without a stream may take. */
const callTimeoutMs = 30_000;

/** Opens a client. It connects with the first call; disposing closes the connection. */
export function createFleetClient(url: string): FleetClient {
  const sessions = new Http2SessionManager(url, { pingIntervalMs: 20_000, pingTimeoutMs: 10_000 });
  const transport: Transport = createGrpcTransport({ baseUrl: url, sessionManager: sessions });
  return {
    url,
    jobs: createClient(JobService, transport),
    fleet: createClient(FleetService, transport),
    content: createRemoteContentStore({}, { transport }),
    [Symbol.dispose]: () => sessions.abort(),
  };
}

/** Options of a call without a stream. */
export function callOptions(signal: AbortSignal): { readonly signal: AbortSignal; readonly timeoutMs: number } {
  return { signal, timeoutMs: callTimeoutMs };
}
