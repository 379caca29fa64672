export {
  expandResponseFiles,
  type ExpandResponseFilesDeps,
  type ExpandResponseFilesOptions,
} from './expand-response-files.ts';
export { localReasons, type LocalReason } from './local-reasons.ts';
export {
  planCompile,
  type CompilePlan,
  type CompilerFamily,
  type LocalCompile,
  type PlanCompileOptions,
} from './plan-compile.ts';
export { judgeSource, type JudgedSource } from './judge-source.ts';
export type { SourceLanguage } from './source-languages.ts';
