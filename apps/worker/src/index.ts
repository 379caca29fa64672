export { createWorkerCommand } from './worker-command.ts';
