export { parseAgentHost, type AgentHost } from './agent-host.ts';
export {
  createDiscoveryResponder,
  type AgentDescription,
  type DiscoveryResponder,
  type DiscoveryResponderDeps,
  type DiscoveryResponderOptions,
  type DiscoverySigner,
  type RequestResult,
} from './discovery-responder.ts';
export { discoveryGroup, discoveryPortDefault } from './discovery-wire.ts';
export { diagnose, type DiagnoseDeps, type DiagnoseOptions, type Diagnosis, type Finding } from './diagnose.ts';
export { createDnsFinder, type DnsFinderOptions } from './dns-finder.ts';
export type { FinderDeps, KnownAgents } from './finder-deps.ts';
export { firstOf } from './first-of.ts';
export { createLanFinder, type LanFinderOptions } from './lan-finder.ts';
export type { InterfaceAddress } from './link-addresses.ts';
export { mergeOf } from './merge-of.ts';
export type { DropReason, SearchEvent } from './search-events.ts';
export type { SourceLimits } from './source-limiter.ts';
export { createStaticFinder, type StaticFinderOptions } from './static-finder.ts';
