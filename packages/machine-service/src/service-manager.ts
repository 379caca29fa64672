import type { ServiceDescription } from './service-description.ts';

/** What manages services on a machine. */
export interface ServiceManager {
  readonly kind: 'systemd' | 'winsw';
  /** The files and commands of an installation, without touching anything. */
  plan(service: ServiceDescription): ServicePlan;
  /**
   * Installs a service, to be started with the machine, and starts it. Repeated with the same description it changes
   * nothing. Throws `SERVICE_DENIED`, `SERVICE_MANAGER_MISSING`, `SERVICE_NOT_OURS`, `SERVICE_CHANGED` (unless `force`),
   * `SERVICE_NOT_STARTED`, `SERVICE_COMMAND_FAILED`; the signal's reason on abort.
   */
  install(service: ServiceDescription, options: InstallOptions, signal: AbortSignal): Promise<ServiceChange>;
  /**
   * Stops a service as its description says, which may take as long, and removes it; what it kept stays. Throws
   * `SERVICE_MISSING`, `SERVICE_DENIED`, `SERVICE_NOT_OURS`, `SERVICE_COMMAND_FAILED`; the signal's reason on abort: it may
   * still be stopping then.
   */
  uninstall(name: string, signal: AbortSignal): Promise<ServiceChange>;
  /** How a service is. Throws `SERVICE_MISSING`, `SERVICE_MANAGER_MISSING`. */
  status(name: string, signal: AbortSignal): Promise<ServiceStatus>;
  /** Starts an installed service; one that runs is left alone. Throws `SERVICE_MISSING`, `SERVICE_NOT_STARTED`. */
  start(name: string, signal: AbortSignal): Promise<void>;
  /** Stops it and waits for its end. Throws `SERVICE_MISSING`, `SERVICE_COMMAND_FAILED`. */
  stop(name: string, signal: AbortSignal): Promise<void>;
}

/** How to install. */
export interface InstallOptions {
  /** Write over a file that was changed by hand since. */
  readonly force: boolean;
  /** Start it now; false: only with the machine. */
  readonly start: boolean;
}

/** What an installation would do. */
export interface ServicePlan {
  readonly files: readonly ServiceFile[];
  /** For people: what is run, in this order. */
  readonly commands: readonly string[];
}

/** A file of a service. */
export interface ServiceFile {
  readonly path: string;
  readonly text: string;
}

/** What was done. */
export interface ServiceChange {
  /** One line for each step that changed something; none if all was so already. */
  readonly done: readonly string[];
  /** It runs as it was before; the change counts after a restart. */
  readonly restartNeeded: boolean;
}

/** How a service is. */
export interface ServiceStatus {
  readonly name: string;
  /** `active`, `activating`, `deactivating`, `inactive` or `failed`, by systemd's words. */
  readonly state: string;
  /** More about it, e.g. `running`; empty if nothing is known. */
  readonly detail: string;
  /** Started with the machine. */
  readonly enabled: boolean;
  /** Its file was written by an installation of ours. */
  readonly ours: boolean;
  /** Its file, and what an operator added to it. */
  readonly files: readonly string[];
  /** The program and its arguments, as installed; empty if that cannot be read. */
  readonly command: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly pid?: number;
  /** When it came to be in this state; milliseconds since the epoch. */
  readonly sinceMs?: number;
  /** What it says of itself, in one line. */
  readonly says?: string;
  /** How its last process ended; absent while it runs, and if it never did. */
  readonly exitCode?: number;
  /** How often it was started again by itself. */
  readonly restarts?: number;
  /** Last lines of its log, oldest first; empty if they cannot be read. */
  readonly lines: readonly string[];
}
