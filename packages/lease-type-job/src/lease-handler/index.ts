export { createJobHandler, type JobHandlerDeps } from './job-handler.ts';
