export { agentPart } from './agent-part.ts';
export { createShutdownHandler, type ShutdownHandlerOptions } from './shutdown-handler.ts';
