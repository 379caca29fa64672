export {
  createDiscoveryResponder,
  type AgentDescription,
  type DiscoveryResponder,
  type DiscoveryResponderDeps,
  type DiscoveryResponderOptions,
  type RequestResult,
} from './discovery-responder.ts';
export { discoveryGroup, discoveryPortDefault } from './discovery-wire.ts';
export type { InterfaceAddress } from './link-addresses.ts';
export type { SourceLimits } from './source-limiter.ts';
