export {
  GuestConnection,
  type GuestConnectionDeps,
  type GuestConnectionOptions,
} from './guest-connection.ts';
