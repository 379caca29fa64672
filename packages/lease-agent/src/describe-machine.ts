import { arch, availableParallelism, hostname, platform, release, totalmem } from 'node:os';
import { readBootId } from '@drover/process-runner';

/** What a machine is, as far as a process can see. */
export interface MachineDescription {
  /** The host's name. */
  readonly name: string;
  /** Differs after every start of the machine. */
  readonly bootId: string;
  /** Values by key, e.g. `os`; a key may have several. */
  readonly properties: Readonly<Record<string, string | readonly string[]>>;
  /** `cores` and `ram` (bytes): what this process may use, which in a container is less than the machine has. */
  readonly resources: Readonly<Record<string, number>>;
}

/** Says what a machine is, and when it has become another one: `createMachineFacts` of `@drover/machine-facts`. */
export interface MachineSource {
  /** As far as it is known now. */
  describe(): MachineDescription;
  /** Calls `listener` when {@link describe} may give something else. Returns how to stop. */
  onChange(listener: () => void): () => void;
}

/**
 * Describes the machine that this process runs on, by what Node knows of it: `os`, `os_release`, `arch`, `hostname`, `cpus`,
 * `ram` (bytes), `node`.
 */
export function describeMachine(): MachineDescription {
  const cores = availableParallelism();
  const allowed = process.constrainedMemory();
  const ram = allowed > 0 && allowed < totalmem() ? allowed : totalmem();
  return {
    name: hostname(),
    bootId: machineBootId(),
    properties: {
      os: platform(),
      os_release: release(),
      arch: arch(),
      hostname: hostname(),
      cpus: String(cores),
      ram: String(ram),
      node: process.versions.node,
    },
    resources: { cores, ram },
  };
}

let bootId: string | undefined;

/** Linux draws one at every start (random(4)); elsewhere the time of the start stands in for it. */
function machineBootId(): string {
  // Rounded, for it is the difference of two clocks.
  bootId ??= readBootId() ?? `started-${Math.round((Date.now() / 1_000 - process.hrtime()[0]) / 60)}`;
  return bootId;
}
