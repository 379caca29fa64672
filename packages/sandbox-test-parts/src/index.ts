export { builtAgent } from './built-agent.ts';
export { debianMachine, makeBusyboxRoot, type DebianMachine } from './debian-machine.ts';
export { debianPackages, debianProgram, type DebianProgram } from './debian-programs.ts';
