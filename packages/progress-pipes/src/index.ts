export type { ItemPace, PacedItem } from './paced-items.ts';
export { pipeNameFault, pipePath } from './pipe-name.ts';
export {
  createProgressPipes,
  type ProgressPipe,
  type ProgressPipeRequest,
  type ProgressPipes,
  type ProgressPipesDeps,
  type ProgressPipesOptions,
} from './progress-pipes.ts';
