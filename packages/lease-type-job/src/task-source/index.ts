export { jobPlanner } from '../job-planner.ts';
export { createJobTaskSource } from './job-task-source.ts';
