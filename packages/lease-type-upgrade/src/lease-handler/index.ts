export { agentPart } from './agent-part.ts';
export { createUpgradeHandler, type UpgradeHandlerDeps, type UpgradeHandlerOptions } from './upgrade-handler.ts';
