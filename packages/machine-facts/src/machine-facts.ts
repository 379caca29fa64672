import { statfs } from 'node:fs/promises';
import { messageOf, silentLogger, systemClock, type Clock, type Logger, type ScheduledCall } from '@drover/lease-kit';
import { coarseBytes } from './coarse-bytes.ts';
import { readFactsFile } from './facts-file.ts';
import { systemFiles, type SystemFiles } from './internal/read-text.ts';
import { quickFacts, withoutEmpty, type FactProperties } from './quick-facts.ts';
import { probeSystem, type ProbedFacts } from './system-probe.ts';

/** What to know of a machine, and how often to look. */
export interface MachineFactsOptions {
  /** The folder whose disk is described. */
  readonly stateDir: string;
  /** Differs after every start of the machine. Default: the platform's own, which in a container is that of its host. */
  readonly bootId?: string;
  /** A file of `KEY=VALUE` lines whose facts come beside and in place of those of the machine. Absent: none. */
  readonly factsFile?: string;
  /** How often what is quick to read is read again. Default 1 min; at least 100 ms. */
  readonly refreshMs?: number;
  /** How often the machine is probed: what takes long. Default 1 h. */
  readonly probeEveryMs?: number;
  /** How long a probe may take before it is ended. Default 20 s. */
  readonly probeTimeoutMs?: number;
}

/** Who works together in machine facts. */
export interface MachineFactsDeps {
  /** Default: the system's. */
  readonly clock?: Clock;
  /** Default: silence. */
  readonly logger?: Logger;
}

/** A machine as an agent describes it: `MachineDescription` of `@drover/lease-agent`. */
export interface DescribedMachine {
  readonly name: string;
  readonly bootId: string;
  readonly properties: FactProperties;
  /** `cores`, `ram` in bytes, and `gpus` once a probe has found some. */
  readonly resources: Readonly<Record<string, number>>;
}

/** The facts of this machine, kept up to date: a `MachineSource` of `@drover/lease-agent`. */
export interface MachineFacts extends AsyncDisposable {
  /** As they are known now. Until the first {@link refresh} without those of disks, the facts file and the probe. */
  describe(): DescribedMachine;
  /** Calls `listener` when {@link describe} gives something else. Returns how to stop. */
  onChange(listener: () => void): () => void;
  /**
   * Looks again at what is quick to read, and with `probe` has the machine probed anew, which goes on behind. Never rejects;
   * what cannot be read within a second is left as it was. Repeats by itself from the first call on.
   */
  refresh(options?: { readonly probe?: boolean }): Promise<void>;
  /** Resolves when no probe is under way. */
  settled(): Promise<void>;
}

const fileTimeoutMs = 1_000;

/** Reads what this machine is. {@link MachineFacts.refresh} starts it; disposing of it ends probe and timers. */
export function createMachineFacts(options: MachineFactsOptions, deps: MachineFactsDeps = {}): MachineFacts {
  return new KeptFacts(options, deps);
}

class KeptFacts implements MachineFacts {
  readonly #options: MachineFactsOptions;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #files: SystemFiles = systemFiles();
  readonly #listeners = new Set<() => void>();
  readonly #ending = new AbortController();
  #disk: FactProperties = {};
  #freeTold: number | undefined;
  #custom: FactProperties = {};
  #probed: ProbedFacts | undefined;
  #probing: Promise<void> | undefined;
  #probeAgain = false;
  #probedAtMs = Number.NEGATIVE_INFINITY;
  #refreshing: Promise<void> | undefined;
  #timer: ScheduledCall | undefined;
  #described: DescribedMachine;
  #fileTrouble: string | undefined;

  constructor(options: MachineFactsOptions, deps: MachineFactsDeps) {
    this.#options = options;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#described = this.#describe();
  }

  describe(): DescribedMachine {
    return this.#described;
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  async refresh({ probe = false }: { readonly probe?: boolean } = {}): Promise<void> {
    const { refreshMs = 60_000, probeEveryMs = 3_600_000 } = this.#options;
    if (this.#ending.signal.aborted) return;
    if (probe || this.#clock.monotonicMs() - this.#probedAtMs >= probeEveryMs) this.#probe();
    this.#refreshing ??= Promise.all([this.#readDisk(), this.#readCustom()]).then(() => {
      this.#refreshing = undefined;
    });
    await this.#refreshing;
    if (this.#ending.signal.aborted) return;
    this.#changed();
    this.#timer?.cancel();
    this.#timer = this.#clock.schedule(Math.max(100, refreshMs), () => void this.refresh());
  }

  async settled(): Promise<void> {
    await this.#probing;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ending.abort();
    this.#timer?.cancel();
    this.#listeners.clear();
    await this.#probing;
  }

  #probe(): void {
    if (this.#probing) {
      this.#probeAgain = true;
      return;
    }
    this.#probedAtMs = this.#clock.monotonicMs();
    const timeoutMs = this.#options.probeTimeoutMs ?? 20_000;
    this.#probing = probeSystem({ timeoutMs }, { clock: this.#clock }, this.#ending.signal)
      .then((probed) => {
        this.#probed = probed;
        this.#changed();
      })
      .catch((error: unknown) => {
        if (this.#ending.signal.aborted) return;
        // What an earlier probe found stands.
        this.#logger.warn({ err: error }, 'some facts of the machine are not known');
      })
      .finally(() => {
        this.#probing = undefined;
        if (this.#probeAgain && !this.#ending.signal.aborted) this.#probe();
        this.#probeAgain = false;
      });
  }

  async #readDisk(): Promise<void> {
    const disk = await this.#within(statfs(this.#options.stateDir));
    if (disk === undefined) return;
    this.#freeTold = coarseBytes(disk.bavail * disk.bsize, this.#freeTold);
    this.#disk = { DiskSize: String(disk.blocks * disk.bsize), DiskFree: String(this.#freeTold) };
  }

  async #readCustom(): Promise<void> {
    const { factsFile } = this.#options;
    if (factsFile === undefined) return;
    try {
      const custom = await this.#within(readFactsFile(factsFile));
      if (custom !== undefined) this.#custom = custom;
      this.#fileTrouble = undefined;
    } catch (error) {
      const trouble = messageOf(error);
      if (trouble !== this.#fileTrouble) {
        this.#logger.error({ err: error }, 'the facts file is not used: what it said before stands');
      }
      this.#fileTrouble = trouble;
    }
  }

  /** What comes of `work` within a second; undefined where it takes longer or fails, as it does on a disk that hangs. */
  async #within<Value>(work: Promise<Value>): Promise<Value | undefined> {
    const late = Promise.withResolvers<undefined>();
    const timer = this.#clock.schedule(fileTimeoutMs, () => late.resolve(undefined));
    try {
      return await Promise.race([work, late.promise]);
    } catch (error) {
      if ((error as { code?: string }).code === 'FACTS_FILE_INVALID') throw error;
      return undefined;
    } finally {
      timer.cancel();
    }
  }

  #changed(): void {
    const next = this.#describe();
    if (JSON.stringify(next) === JSON.stringify(this.#described)) return;
    this.#described = next;
    for (const listener of this.#listeners) listener();
  }

  #describe(): DescribedMachine {
    const quick = quickFacts({ files: this.#files, env: process.env, bootId: this.#options.bootId });
    const probed = this.#probed;
    const gpus = probed?.gpus ?? [];
    const found = withoutEmpty({
      CPUVendor: probed?.cpuVendor,
      CPUFeature: probed?.cpuFeatures,
      PhysicalCores: probed?.physicalCores?.toString(),
      GPU: [...new Set(gpus.map(({ model }) => model))],
      GPUCount: probed && String(gpus.length),
      GPUMemory: [
        ...new Set(gpus.flatMap(({ memoryBytes }) => (memoryBytes === undefined ? [] : String(memoryBytes)))),
      ],
      GPUDriver: [...new Set(gpus.flatMap(({ driver }) => driver ?? []))],
      MachineVendor: probed?.machineVendor,
      MachineModel: probed?.machineModel,
      Virtualization: probed?.virtualization,
      // Linux names its own above; others have no file that does.
      Distribution: quick.properties['Distribution'] ?? probed?.distribution,
      DistributionVersion: quick.properties['DistributionVersion'] ?? probed?.distributionVersion,
    });
    const told = new Set(Object.keys(this.#custom).map((key) => key.toLowerCase()));
    const own = Object.entries({ ...quick.properties, ...found, ...this.#disk });
    return {
      name: quick.hostName,
      bootId: quick.bootId,
      properties: { ...Object.fromEntries(own.filter(([key]) => !told.has(key.toLowerCase()))), ...this.#custom },
      resources: {
        cores: quick.cores,
        ram: quick.ramBytes,
        ...(gpus.length > 0 ? { gpus: gpus.length } : {}),
      },
    };
  }
}
