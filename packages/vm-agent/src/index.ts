export { connectSocket } from './connect-socket.ts';
export { GuestConnection, type GuestConnectionDeps, type GuestConnectionOptions } from './guest-connection.ts';
export { guestInitramfs, type GuestKernel } from './guest-initramfs.ts';
export { GuestSandbox, type GuestSandboxParts } from './guest-sandbox.ts';
