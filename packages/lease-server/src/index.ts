export type { AdmittedAgent, AgentAdmission } from './agent-admission.ts';
export {
  agentActsForItself,
  defaultLeaseServerLimits,
  defaultLeaseServerTiming,
  type LeaseServerDeps,
  type LeaseServerLimits,
  type LeaseServerOptions,
  type LeaseServerTiming,
} from './lease-server-options.ts';
export { createLeaseServer, type LeaseServer, type LeaseServerStatus } from './lease-server.ts';
