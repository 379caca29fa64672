export { agentPart } from './agent-part.ts';
export { createRestartHandler, type RestartHandlerOptions } from './restart-handler.ts';
