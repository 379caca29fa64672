export { unpairedTls, type AgentTls } from './agent-tls.ts';
export { createAgentTransport, type AgentTransport, type AgentTransportOptions } from './agent-transport.ts';
export { HerdTrust, herdTrustDir, type Admission, type HerdTrustDeps, type TrustedAgent } from './herd-trust.ts';
export { pairWithAgent, type PairOptions } from './pair-with-agent.ts';
