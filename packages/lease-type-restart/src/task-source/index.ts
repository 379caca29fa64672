export { serverPart } from './server-part.ts';
export { createRestartTaskSource, type RestartTaskSourceDeps } from './restart-task-source.ts';
