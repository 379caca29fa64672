export { createProgram } from './program.ts';
export type { CommandContext } from './command-context.ts';
