import { arch, availableParallelism, cpus, hostname, platform, release, totalmem, uptime, userInfo } from 'node:os';
import { readBootId } from '@drover/process-runner';
import { cgroupLimits } from './cgroup-limits.ts';
import { cloudInstance } from './cloud-instance.ts';
import { containerKinds } from './container-kinds.ts';
import type { SystemFiles } from './internal/read-text.ts';
import { distributionFrom } from './os-release.ts';

/** Properties by key; a key may have several values. */
export type FactProperties = Readonly<Record<string, string | readonly string[]>>;

/** What can be read at once. */
export interface QuickFacts {
  readonly hostName: string;
  readonly bootId: string;
  readonly properties: FactProperties;
  /** What this process may use: in a container less than the machine has. */
  readonly cores: number;
  readonly ramBytes: number;
}

/** Where quick facts come from. */
export interface QuickFactsDeps {
  readonly files: SystemFiles;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** In place of the platform's. */
  readonly bootId?: string | undefined;
}

const families: Readonly<Record<string, string>> = { win32: 'windows', sunos: 'solaris' };

/** Reads what takes no time: what Node knows, and small files of the kernel. */
export function quickFacts({ files, env, bootId = machineBootId() }: QuickFactsDeps): QuickFacts {
  const limits = cgroupLimits(files);
  const constrained = process.constrainedMemory();
  const ramBytes = Math.min(totalmem(), limits.ramBytes ?? Infinity, constrained > 0 ? constrained : Infinity);
  const cores = Math.max(1, Math.min(availableParallelism(), Math.floor(limits.cores ?? Infinity)));
  const distribution = distributionFrom(files.read('/etc/os-release') ?? files.read('/usr/lib/os-release') ?? '');
  const processors = cpus();
  const cloud = cloudInstance(files);
  const hostName = hostname();
  const properties: Record<string, string | readonly string[] | undefined> = {
    os: platform(),
    OSFamily: families[platform()] ?? platform(),
    Distribution: distribution?.id,
    DistributionFamily: distribution && [...new Set([distribution.id, ...distribution.like])],
    DistributionVersion: distribution?.version,
    Kernel: release(),
    os_release: release(),
    arch: arch(),
    CPU: processors[0]?.model.trim() || undefined,
    cpus: String(cores),
    LogicalCores: String(Math.max(processors.length, cores)),
    RAM: String(ramBytes),
    HostName: hostName,
    User: userName(),
    BootTime: bootTime(files),
    BootId: bootId,
    Container: containerKinds(files, env),
    Cloud: cloud?.cloud,
    CloudInstance: cloud?.instanceId,
    CloudInstanceType: cloud?.instanceType,
    CloudRegion: cloud?.region,
    CloudZone: cloud?.zone,
    node: process.versions.node,
  };
  return { hostName, bootId, cores, ramBytes, properties: withoutEmpty(properties) };
}

/** Leaves out what is not known. */
export function withoutEmpty(values: Readonly<Record<string, string | readonly string[] | undefined>>): FactProperties {
  return Object.fromEntries(
    Object.entries(values).filter(
      (entry): entry is [string, string | readonly string[]] => (entry[1]?.length ?? 0) > 0,
    ),
  );
}

function userName(): string | undefined {
  try {
    return userInfo().username;
  } catch {
    // A user id without a name, as containers have.
    return process.getuid === undefined ? undefined : String(process.getuid());
  }
}

/** Linux draws one at every start (random(4)); elsewhere the time of the start stands in for it. */
function machineBootId(): string {
  // Rounded, for it is the difference of two clocks.
  return readBootId() ?? `started-${Math.round((Date.now() / 1_000 - process.hrtime()[0]) / 60)}`;
}

function bootTime(files: SystemFiles): string {
  const seconds = /^btime (\d+)$/m.exec(files.read('/proc/stat') ?? '')?.[1];
  const atMs = seconds === undefined ? Date.now() - uptime() * 1_000 : Number(seconds) * 1_000;
  // By the minute: a clock that is set moves it.
  return `${new Date(Math.round(atMs / 60_000) * 60_000).toISOString().slice(0, 16)}Z`;
}
