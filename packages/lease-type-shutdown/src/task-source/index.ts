export { serverPart } from './server-part.ts';
export { createShutdownTaskSource, type ShutdownTaskSourceDeps } from './shutdown-task-source.ts';
