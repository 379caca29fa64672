export { GuestConnection, type GuestConnectionDeps, type GuestConnectionOptions } from './guest-connection.ts';
export { GuestSandbox, type GuestSandboxParts } from './guest-sandbox.ts';
