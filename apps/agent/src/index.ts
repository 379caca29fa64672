export { createAgentCommand, type AgentReady } from './agent-command.ts';
export { agentConfig, type AgentConfig } from './agent-config.ts';
export {
  ContentToken,
  LoggerToken,
  RunnerToken,
  composeAgent,
  createConfiguredAgent,
  type AgentParts,
  type ComposedAgent,
} from './compose-agent.ts';
