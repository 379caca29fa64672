export { AttemptFolder, folderNameOf, removeLeftFolders, type AttemptName } from './attempt-folder.ts';
export { reportFromStop, type AttemptReport } from './attempt-report.ts';
export { createHandlerRegistry, type HandlerRegistry } from './handler-registry.ts';
export {
  LogUploader,
  logsMax,
  pieceSizeBytesMax,
  type AttemptLogs,
  type LogPiece,
  type LogUploaderDeps,
  type LogUploaderOptions,
} from './log-uploader.ts';
export { cutToBytes, ProgressBoard } from './progress-board.ts';
export { abandonAfterGraceMs, RunningAttempt, type AttemptDeps, type AttemptWork } from './running-attempt.ts';
