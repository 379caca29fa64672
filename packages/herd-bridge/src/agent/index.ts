export type { HerdBridgeOptions } from './bridge-options.ts';
export { createHerdBridge, type HerdBridge, type HerdBridgeDeps, type HerdMachine } from './herd-bridge.ts';
