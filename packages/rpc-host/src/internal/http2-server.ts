import { createServer, type Http2Server } from 'node:http2';
import type { RpcHostLimits } from '../rpc-host-limits.ts';

/**
 * An HTTP/2 server that never listens: it gets sockets through its `connection` event. Its settings keep thousands of idle
 * connections small.
 */
export function createLowMemoryHttp2Server(limits: RpcHostLimits): Http2Server {
  return createServer({
    // MiB for one connection's queues and tables; beyond it the connection gets no new streams.
    maxSessionMemory: 32,
    maxOutstandingPings: 2,
    settings: {
      enablePush: false,
      // Without HPACK's table, which a connection would keep for headers that an agent sends once.
      headerTableSize: 0,
      maxConcurrentStreams: limits.streamsPerConnectionMax,
      maxHeaderListSize: limits.headerSizeBytesMax,
      initialWindowSize: limits.streamWindowSizeBytes,
    },
  });
}
