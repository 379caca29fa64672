export { jobPlanner } from '../job-planner.ts';
export { serverPart } from './server-part.ts';
export { createJobTaskSource } from './job-task-source.ts';
