/** The bounds of one host. All are enforced; what goes over is refused with an error, never queued. */
export interface RpcHostLimits {
  /** Most connections at once; further ones are closed at once. Default 20,000. */
  readonly connectionsMax: number;
  /** Most open calls on one HTTP/2 connection. Default 128. */
  readonly streamsPerConnectionMax: number;
  /** Longest message that is received, after decompression. RESOURCE_EXHAUSTED beyond. Default 4 MiB. */
  readonly messageReceiveSizeBytesMax: number;
  /** Longest message that is sent. Default 4 MiB. */
  readonly messageSendSizeBytesMax: number;
  /** Longest header block of one request. Default 16 KiB. */
  readonly headerSizeBytesMax: number;
  /** How much one call may have in flight towards the host before it is read (HTTP/2 flow control). Default 256 KiB. */
  readonly streamWindowSizeBytes: number;
  /** The same for all calls of one connection together. Default 1 MiB. */
  readonly connectionWindowSizeBytes: number;
  /** How long a new connection may take to its first byte, a TLS handshake, or an HTTP/1.1 request's header. Default 10 s. */
  readonly firstByteTimeoutMs: number;
  /** A connection without an open call is closed after this time. Default 5 min. */
  readonly idleConnectionTimeoutMs: number;
  /** How long an HTTP/1.1 request may take to arrive completely; HTTP/2 calls have no such bound. Default 5 min. */
  readonly requestTimeoutMs: number;
  /** The longest deadline that a caller may ask for; INVALID_ARGUMENT beyond. Default 24 h. */
  readonly callTimeoutMsMax: number;
  /** How often an HTTP/2 connection is pinged, so that a dead one is found and proxies keep it open. Default 30 s. */
  readonly keepaliveIntervalMs: number;
  /** An HTTP/2 connection that does not answer a ping within this time is destroyed. Default 15 s. */
  readonly keepaliveTimeoutMs: number;
}

/** What holds where the options say nothing. */
export const defaultRpcHostLimits: RpcHostLimits = {
  connectionsMax: 20_000,
  streamsPerConnectionMax: 128,
  messageReceiveSizeBytesMax: 4 * 1024 * 1024,
  messageSendSizeBytesMax: 4 * 1024 * 1024,
  headerSizeBytesMax: 16 * 1024,
  streamWindowSizeBytes: 256 * 1024,
  connectionWindowSizeBytes: 1024 * 1024,
  firstByteTimeoutMs: 10_000,
  idleConnectionTimeoutMs: 300_000,
  requestTimeoutMs: 300_000,
  callTimeoutMsMax: 24 * 60 * 60 * 1000,
  keepaliveIntervalMs: 30_000,
  keepaliveTimeoutMs: 15_000,
};
