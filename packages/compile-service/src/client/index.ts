export {
  CompileClient,
  type CompileClientDeps,
  type CompileClientOptions,
  type CompileStatistics,
} from './compile-client.ts';
export { CompileDaemon, type CompileDaemonDeps, type CompileDaemonOptions } from './compile-daemon.ts';
export {
  CompilePlaces,
  type CompilePlacesDeps,
  type CompilePlacesOptions,
  type CompileRoom,
} from './compile-places.ts';
export { launcherRequestBytes, type LauncherReply, type LauncherRequest } from './launcher-protocol.ts';
export {
  RemoteCompiler,
  type RemoteCompile,
  type RemoteCompilerDeps,
  type RemoteCompilerOptions,
  type RemoteOutcome,
} from './remote-compiler.ts';
