export { agentIdHeader, userHeader } from './callers.ts';
export { composeServer, createServerHost, type ServerParts } from './compose-server.ts';
export { runServer, type RunningServer } from './run-server.ts';
export { createServerCommand, type ServerListening } from './server-command.ts';
export { ContentToken, LoggerToken, StoreToken } from './tokens.ts';
export { serverConfig, type ServerConfig } from './server-config.ts';
