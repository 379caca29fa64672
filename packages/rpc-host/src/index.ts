export { listedServicesMax } from './health-service.ts';
export type { TlsClients, TlsMaterial } from './internal/acceptor.ts';
export { loadTls, watchTls, type TlsFiles, type TlsWatch } from './tls-files.ts';
export { readinessTimeoutMs, type IsReady, type Readiness } from './operator-endpoints.ts';
export {
  createOperatorHost,
  type MetricsText,
  type OperatorHost,
  type OperatorHostDeps,
  type OperatorHostOptions,
} from './operator-host.ts';
export {
  peerFrom,
  principalFrom,
  principalKey,
  type IncomingCall,
  type PrincipalOf,
  type RpcPeer,
} from './principal.ts';
export {
  createRpcHost,
  type RpcHost,
  type RpcHostDeps,
  type RpcHostOptions,
  type ServedMethod,
  type StopOptions,
} from './rpc-host.ts';
export { defaultRpcHostLimits, type RpcHostLimits } from './rpc-host-limits.ts';
