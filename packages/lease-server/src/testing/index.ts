export { MachineAgent, type MachineAgentOptions } from './machine-agent.ts';
export { draft, ServerBench, tester, work } from './server-bench.ts';
