export {
  openServiceNotifier,
  type ServiceNotifier,
  type ServiceNotifierDeps,
  type ServiceNotifierOptions,
} from './service-notifier.ts';
