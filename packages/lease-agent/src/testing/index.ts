export {
  MemoryLeaseServer,
  type MemoryAttempt,
  type MemoryAttemptOptions,
  type MemoryLeaseServerOptions,
} from './memory-lease-server.ts';
