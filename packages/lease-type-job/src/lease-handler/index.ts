export { agentPart } from './agent-part.ts';
export { createJobHandler, type JobHandlerDeps } from './job-handler.ts';
