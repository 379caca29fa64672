import { z } from 'zod';
import { memorySize, optionalDuration, requiredDuration } from './config-quantities.ts';

/** How a worker's sandboxes are made, by their names in worker.toml. */
export const sandboxHandlers = [
  'firecracker',
  'qemu-microvm',
  'namespace',
  'really_really_dangerous',
  'runhcs-wcow-hypervisor',
] as const;

/** What is needed and was not said. Checked beside what fits together, so that all is told at once. */
const unset = '';
const tokenLengthMin = 16;
const digestPattern = /^sha256:[0-9a-f]{64}$/;
const addressPattern = /^(?:[\w.-]*|\[[0-9a-fA-F:.]+\]):(\d{1,5})$/;

function addressFault(address: string, isHostNeeded: boolean): string | undefined {
  const port = Number(addressPattern.exec(address)?.[1] ?? Number.NaN);
  if (!(port <= 65_535)) return `is no address: ${JSON.stringify(address)}; allowed is HOST:PORT`;
  if (isHostNeeded && (address.startsWith(':') || port === 0)) {
    return `names no host and port that clients reach: ${JSON.stringify(address)}; allowed is HOST:PORT`;
  }
  return undefined;
}

const cacheTier = z.discriminatedUnion(
  'type',
  [
    z.strictObject({
      type: z.literal('disk'),
      location: z.string().min(1),
      max_size: memorySize().default(10 * 1_024 ** 3),
    }),
    z.strictObject({
      type: z.literal('s3'),
      bucket: z.string().min(1),
      region: z.string().default('us-east-1'),
      endpoint: z.string().optional(),
      access_key: z.string().optional(),
      secret_key: z.string().optional(),
      max_size: memorySize().optional(),
      auto_create: z.boolean().default(false),
    }),
  ],
  { error: 'is no kind of cache; allowed are type = "disk" and type = "s3"' },
);

const firecracker = z
  .strictObject({
    firecracker_bin: z.string().default('firecracker').describe('Program of Firecracker.'),
    jailer_bin: z.string().default('jailer').describe('Program of its jailer.'),
    kernel_image: z.string().default(unset).describe('Kernel of its guests.'),
    rootfs_dir: z.string().default(unset).describe('Folder of root drives; absent means one of state.dir.'),
    run_dir: z.string().default(unset).describe('Folder of jails; absent means one of state.dir.'),
    uid: z.int().min(0).default(0).describe('User that its machines run as; above 0.'),
    gid: z.int().min(0).default(0).describe('Group that its machines run as; above 0.'),
    boot_args: z
      .string()
      .default('console=ttyS0 reboot=k panic=1 pci=off init=/.hpcc/agent root=/dev/vda ro')
      .describe('Command line of the guest’s kernel.'),
  })
  .prefault({});

const hcsshim = z
  .strictObject({
    address: z.string().default(unset).describe('Windows only; not used.'),
    namespace: z.string().default(unset).describe('Windows only; not used.'),
    run_dir: z.string().default(unset).describe('Windows only; not used.'),
    runtime: z.string().default(unset).describe('Windows only; not used.'),
    snapshotter: z.string().default(unset).describe('Windows only; not used.'),
    isolation: z.enum(['', 'hyperv', 'process']).default('').describe('Windows only; not used.'),
  })
  .prefault({});

const namespace = z
  .strictObject({
    bubblewrap_bin: z.string().default('bwrap').describe('Program of bubblewrap.'),
    cgroup_parent: z
      .string()
      .default(unset)
      .describe('Folder of control groups (v2) to make groups in; absent: found.'),
    unbounded: z.boolean().default(false).describe('Start also where memory and processes cannot be bounded.'),
  })
  .prefault({});

const qemuMicrovm = z
  .strictObject({
    qemu_bin: z.string().default('qemu-system-x86_64').describe('Program of QEMU.'),
    firmware_dirs: z
      .array(z.string())
      .default([])
      .describe('Folders of its firmware, where it does not find it itself.'),
    kernel_image: z.string().default(unset).describe('Kernel of its guests.'),
    kernel_modules: z.array(z.string()).default([]).describe('Modules for virtio, in the order in which they load.'),
    accelerator: z.enum(['auto', 'kvm', 'tcg']).default('auto').describe('auto: KVM where a test boot proves it.'),
    snapshots: z.boolean().default(true).describe('Keep a booted machine, and start sandboxes from it.'),
  })
  .prefault({});

/** Every key of worker.toml: the reference's under their names, and Drover's own beside. */
const keys = z.strictObject({
  listen: z.string().default(':9092').describe('HOST:PORT that clients are served at; no host: all addresses.'),
  worker_id: z
    .string()
    .regex(/^$|^[\w.@:+-]{1,128}$/, 'is no id; allowed are 1 to 128 letters, digits and . _ @ : + -')
    .default(unset)
    .describe('Stable and unique among workers; absent means one that is made once and kept in state.dir.'),
  public_addr: z.string().default(unset).describe('HOST:PORT at which clients reach this worker.'),
  paranoid: z.boolean().default(false).describe('Clients keep no caches: this worker’s is the only one.'),
  metrics_listen: z.string().default(unset).describe('HOST:PORT of /metrics, /healthz and /readyz; absent means none.'),
  tls: z
    .strictObject({
      cert_file: z.string().default(unset).describe('PEM file of the certificate that clients pin.'),
      key_file: z.string().default(unset).describe('PEM file of its private key.'),
    })
    .prefault({}),
  scheduler: z
    .strictObject({
      url: z.string().default(unset).describe('The server, https://HOST:PORT.'),
      worker_token: z.string().meta({ secret: true }).default(unset),
      ca_file: z.string().default(unset).describe('PEM file of the authority that signed the server’s certificate.'),
      plaintext: z.boolean().default(false).describe('A server on another machine may be called without TLS.'),
    })
    .prefault({}),
  runtime: z
    .strictObject({
      handler: z
        .string()
        .default('firecracker')
        .describe(`How sandboxes are made: ${sandboxHandlers.join(', ')}.`),
      firecracker,
      hcsshim,
      namespace,
      qemu_microvm: qemuMicrovm,
    })
    .prefault({}),
  vm: z
    .strictObject({
      memory: memorySize()
        .default(2 * 1_024 ** 3)
        .describe('Memory of each sandbox.'),
      vcpus: z.int().min(1).max(256).default(4).describe('Processors of each sandbox, and compiles in it at once.'),
      idle_timeout: optionalDuration()
        .default(600_000)
        .describe('An unused sandbox is ended after so long; "": never.'),
      session_timeout: optionalDuration()
        .default(28_800_000)
        .describe('A sandbox of this age gets no new compiles; "": any age.'),
      disk: memorySize()
        .default(2 * 1_024 ** 3)
        .describe('What may be written in a sandbox.'),
      processes_max: z.int().min(8).max(65_536).default(512).describe('Processes and threads in a sandbox at once.'),
      compile_timeout: requiredDuration().default(300_000).describe('A compile that takes longer is ended.'),
    })
    .prefault({}),
  pool: z
    .strictObject({
      max_active: z.int().min(1).max(10_000).default(32).describe('Sandboxes at once; never passed.'),
      wait_max: requiredDuration().default(60_000).describe('How long a compile may wait for a sandbox.'),
      spare_max: z
        .int()
        .min(0)
        .max(64)
        .default(0)
        .describe('Sandboxes kept ready for each tenant and image in demand.'),
    })
    .prefault({}),
  image: z
    .strictObject({
      pause_linux_amd64: z
        .string()
        .default(unset)
        .describe('Agent’s program for sandboxes on x64; absent: the built-in.'),
      pause_linux_arm64: z
        .string()
        .default(unset)
        .describe('Agent’s program for sandboxes on arm64; absent: the built-in.'),
      pause_windows_amd64: z.string().default(unset).describe('Windows only; not used.'),
      agent_linux_amd64: z.string().default(unset).describe('The same as pause_linux_amd64, which goes first.'),
      agent_linux_arm64: z.string().default(unset).describe('The same as pause_linux_arm64, which goes first.'),
      agent_windows_amd64: z.string().default(unset).describe('Windows only; not used.'),
      advertised_digests: z
        .array(z.string().regex(digestPattern, 'is no digest; allowed is sha256: and 64 hexadecimal digits'))
        .max(1_000)
        .default([])
        .describe('Images that this worker stands for, and keeps for good.'),
      folders: z
        .array(
          z
            .string()
            .regex(/^sha256:[0-9a-f]{64}=\/.*$/, 'is no image; allowed is DIGEST=FOLDER, with an absolute path'),
        )
        .max(1_000)
        .default([])
        .describe('Images that stand unpacked on this machine, as DIGEST=FOLDER.'),
      idle_timeout: optionalDuration()
        .default(86_400_000)
        .describe('Images that nobody has used for so long go; "": never.'),
      size_max: memorySize()
        .default(64 * 1_024 ** 3)
        .describe('Most bytes of images on disk; the least used go.'),
    })
    .prefault({}),
  cache: z.array(cacheTier).max(8).default([]).describe('Caches of results, the quickest first.'),
  source: z
    .strictObject({
      size_max: memorySize()
        .default(10 * 1_024 ** 3)
        .describe('Most bytes of source files of each tenant.'),
    })
    .prefault({}),
  state: z
    .strictObject({
      dir: z.string().min(1).default('.drover/worker').describe('Folder of sandboxes, images, sources and records.'),
    })
    .prefault({}),
  stop: z
    .strictObject({
      grace: requiredDuration().default(600_000).describe('How long compiles may take to end when the worker drains.'),
    })
    .prefault({}),
});

type WorkerConfigKeys = z.infer<typeof keys>;
type Fault = (path: readonly string[], message: string) => void;

/** What is missing in a configuration or does not fit together; nothing for a right one. Each names its key. */
export function validateWorkerConfig(config: WorkerConfig): readonly string[] {
  const faults: string[] = [];
  addFaults(config, (path, message) => faults.push(`${path.join('.')}: ${message}`));
  return faults;
}

function addFaults(config: WorkerConfigKeys, fault: Fault): void {
  const { handler, firecracker: machine } = config.runtime;
  const missing = (path: readonly string[], value: string | undefined, example: string): void => {
    if (value === unset) fault(path, `is missing; allowed is ${example}`);
  };
  const address = (path: readonly string[], value: string, isHostNeeded: boolean): void => {
    const message = addressFault(value, isHostNeeded);
    if (message !== undefined) fault(path, message);
  };
  address(['listen'], config.listen, false);
  missing(['public_addr'], config.public_addr, 'HOST:PORT as clients see it, e.g. worker-1.example:9092');
  if (config.public_addr !== unset) address(['public_addr'], config.public_addr, true);
  if (config.metrics_listen !== unset) address(['metrics_listen'], config.metrics_listen, false);
  missing(['tls', 'cert_file'], config.tls.cert_file, 'a PEM file');
  missing(['tls', 'key_file'], config.tls.key_file, 'a PEM file');
  missing(['scheduler', 'url'], config.scheduler.url, 'https://HOST:PORT of the server');
  if (config.scheduler.url !== unset && !/^https?:$/.test(URL.parse(config.scheduler.url)?.protocol ?? '')) {
    fault(['scheduler', 'url'], `is no URL: ${JSON.stringify(config.scheduler.url)}; allowed is https://HOST:PORT`);
  }
  if (config.scheduler.worker_token.length < tokenLengthMin) {
    fault(['scheduler', 'worker_token'], `is missing or too short; allowed are ${tokenLengthMin} characters and more`);
  }
  if (!(sandboxHandlers as readonly string[]).includes(handler)) {
    fault(
      ['runtime', 'handler'],
      `${JSON.stringify(handler)} is no way to make sandboxes; allowed are ${sandboxHandlers.join(', ')}`,
    );
  }
  if (handler === 'firecracker') {
    missing(['runtime', 'firecracker', 'kernel_image'], machine.kernel_image, 'a file with a kernel');
    for (const name of ['uid', 'gid'] as const) {
      if (machine[name] === 0) fault(['runtime', 'firecracker', name], 'is 0 or missing; allowed is a number above 0');
    }
  }
  if (handler === 'qemu-microvm') {
    missing(['runtime', 'qemu_microvm', 'kernel_image'], config.runtime.qemu_microvm.kernel_image, 'a kernel’s file');
  }
  if (config.paranoid && config.cache.length === 0) {
    fault(['paranoid'], 'is true, and there is no [[cache]]; allowed is at least one, as clients keep none themselves');
  }
}

/** What a worker may be told: by worker.toml, and in the app by environment and flags too. All that is wrong is told at once. */
export const workerConfigSchema = keys.superRefine(
  (config, context) => {
    addFaults(config, (path, message) => context.addIssue({ code: 'custom', path: [...path], message }));
  },
  // Also where a key is wrong by itself, as long as there is something of each table to look at.
  { when: ({ value }) => hasItsTables(value) },
);

function hasItsTables(value: unknown): boolean {
  const { tls, scheduler, runtime, cache, listen, public_addr: address } = value as Partial<WorkerConfigKeys>;
  return (
    [tls, scheduler, runtime?.firecracker, runtime?.qemu_microvm].every((table) => typeof table === 'object') &&
    [listen, address, scheduler?.url, scheduler?.worker_token].every((text) => typeof text === 'string') &&
    Array.isArray(cache)
  );
}

/** A worker's configuration as read. */
export type WorkerConfig = z.infer<typeof workerConfigSchema>;

/** One tier of a worker's caches, as configured. */
export type CacheTierConfig = z.infer<typeof cacheTier>;
