export {
  AgentIdentity,
  type AgentIdentityDeps,
  type AgentIdentityOptions,
  type EnrolmentServer,
} from './agent-identity.ts';
