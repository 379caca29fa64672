export {
  createMachineFacts,
  type DescribedMachine,
  type MachineFacts,
  type MachineFactsDeps,
  type MachineFactsOptions,
} from './machine-facts.ts';
export type { FactProperties } from './quick-facts.ts';
