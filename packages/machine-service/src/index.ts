export type { ServiceDescription } from './service-description.ts';
export type {
  InstallOptions,
  ServiceChange,
  ServiceFile,
  ServiceManager,
  ServicePlan,
  ServiceStatus,
} from './service-manager.ts';
export { createSystemdServiceManager, type SystemdDeps, type SystemdOptions } from './systemd-service-manager.ts';
export { createWinswServiceManager, type WinswDeps, type WinswOptions } from './winsw-service-manager.ts';
