export {
  createMachinePower,
  type MachinePower,
  type MachinePowerOptions,
  type PowerFailure,
  type PowerOutcome,
} from './machine-power.ts';
export { powerConfigSchema, type PowerConfig } from './power-config.ts';
