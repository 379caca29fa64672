export { defineAppConfig, type AppConfigDefinition, type ConfigKey, type KeyKind, type KeyMeta } from './app-config.ts';
export { addConfigOptions, configFromCommand, type ConfigRequest } from './config-command.ts';
export { byteSize, duration, secret } from './config-quantities.ts';
export { exitCodeOfError } from './exit-code-of-error.ts';
export { exitCodes, type ExitCode } from './exit-codes.ts';
export { loadAppConfig, type ConfigSources, type LoadedConfig } from './load-app-config.ts';
export { logConfig } from './log-config.ts';
export { printAppConfig } from './print-app-config.ts';
export { listenForStop, type StopSignals } from './stop-signals.ts';
