export { agentPart, type ConformAgentDeps } from './agent-part.ts';
export { createConformHandler, type ConformHandlerDeps, type ConformHandlerOptions } from './conform-handler.ts';
