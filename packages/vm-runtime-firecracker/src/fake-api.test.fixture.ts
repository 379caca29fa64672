/** A machine as the fake's API describes it to whoever makes one. */
export interface FakeMachine {
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly initrd: string | undefined;
  readonly commandLine: string;
  readonly drives: readonly { readonly path: string; readonly isReadOnly: boolean }[];
  readonly vsock: string | undefined;
}

/** What the fake's API does beside checking. Whatever throws is answered with 400 and the message. */
export interface FakeBackend {
  /** Throws unless the process could open it, being the user that it is in the jail that it has. */
  checkFile(path: string, use: 'read' | 'write'): void;
  start(machine: FakeMachine): Promise<void>;
  pause(): Promise<void>;
  resume(): Promise<void>;
  save(statePath: string, memoryPath: string): Promise<void>;
  load(statePath: string, memoryPath: string, vsock: string | undefined): Promise<void>;
  /** A load that fails ends the process. */
  die(): void;
}

/** The API's answer. */
export interface FakeAnswer {
  readonly status: 200 | 204 | 400;
  readonly body?: unknown;
}

type Field = 'string' | 'boolean' | 'integer' | 'strings' | readonly string[] | Shape;
/** Names of required fields end in `!`. */
interface Shape {
  readonly [name: string]: Field;
}

const bucket: Shape = { 'size!': 'integer', 'refill_time!': 'integer', one_time_burst: 'integer' };
const rateLimiter: Shape = { bandwidth: bucket, ops: bucket };

/** Bodies as src/firecracker/swagger/firecracker.yaml has them. */
const shapes: Readonly<Record<string, Shape>> = {
  'PUT /actions': { 'action_type!': ['FlushMetrics', 'InstanceStart', 'SendCtrlAltDel'] },
  'PUT /boot-source': { 'kernel_image_path!': 'string', initrd_path: 'string', boot_args: 'string' },
  'PUT /drives': {
    ...{ 'drive_id!': 'string', 'is_root_device!': 'boolean', partuuid: 'string', cache_type: ['Unsafe', 'Writeback'] },
    ...{ is_read_only: 'boolean', path_on_host: 'string', io_engine: ['Sync', 'Async'], socket: 'string' },
    rate_limiter: rateLimiter,
  },
  'PATCH /drives': { 'drive_id!': 'string', path_on_host: 'string', rate_limiter: rateLimiter },
  'PUT /logger': {
    level: ['Error', 'Warning', 'Info', 'Debug', 'Trace', 'Off'],
    ...{ log_path: 'string', show_level: 'boolean', show_log_origin: 'boolean', module: 'string' },
  },
  'PUT /metrics': { 'metrics_path!': 'string', emit_id: 'boolean' },
  'PUT /machine-config': {
    ...{ 'vcpu_count!': 'integer', 'mem_size_mib!': 'integer', smt: 'boolean', track_dirty_pages: 'boolean' },
    ...{ huge_pages: ['None', 'Transparent', '2M'], cpu_template: ['C3', 'T2', 'T2S', 'T2CL', 'T2A', 'V1N1', 'None'] },
  },
  'PUT /network-interfaces': {
    ...{ 'iface_id!': 'string', 'host_dev_name!': 'string', guest_mac: 'string', mtu: 'integer' },
    ...{ rx_rate_limiter: rateLimiter, tx_rate_limiter: rateLimiter },
  },
  'PUT /vsock': { 'guest_cid!': 'integer', 'uds_path!': 'string', vsock_id: 'string' },
  'PUT /entropy': { rate_limiter: rateLimiter },
  'PATCH /vm': { 'state!': ['Paused', 'Resumed'] },
  'PUT /snapshot/create': {
    ...{ 'mem_file_path!': 'string', 'snapshot_path!': 'string', snapshot_type: ['Full', 'Diff'] },
  },
  'PUT /snapshot/load': {
    ...{ 'snapshot_path!': 'string', mem_file_path: 'string', resume_vm: 'boolean', track_dirty_pages: 'boolean' },
    ...{
      enable_diff_snapshots: 'boolean',
      clock_realtime: 'boolean',
      huge_pages: ['Snapshot', 'None', 'Transparent', '2M'],
    },
    mem_backend: { 'backend_type!': ['File', 'Uffd'], 'backend_path!': 'string' },
    vsock_override: { 'uds_path!': 'string' },
  },
};

const beforeBoot = new Set(
  ['/boot-source', '/drives', '/logger', '/metrics', '/machine-config', '/network-interfaces', '/vsock', '/entropy']
    .map((path) => `PUT ${path}`)
    .concat('PUT /snapshot/load'),
);
const afterBoot = new Set(['PATCH /drives', 'PATCH /vm', 'PUT /snapshot/create']);
const late = 'The requested operation is not supported after starting the microVM.';
const early = 'The requested operation is not supported before starting the microVM.';

type Body = Readonly<Record<string, unknown>>;

/** Firecracker's API, as strict as it is published: fields, types, order and states. */
export class FakeApi {
  readonly #id: string;
  readonly #backend: FakeBackend;
  #state: 'Not started' | 'Running' | 'Paused' = 'Not started';
  #isBootPath = false;
  #machine = { vcpu_count: 1, mem_size_mib: 128 };
  #boot: Body | undefined;
  #vsock: string | undefined;
  readonly #drives = new Map<string, Body>();
  readonly #once = new Set<string>();

  constructor(id: string, backend: FakeBackend) {
    this.#id = id;
    this.#backend = backend;
  }

  /** One request. */
  async answer(method: string, path: string, text: string): Promise<FakeAnswer> {
    try {
      return await this.#answer(method, path, text);
    } catch (error) {
      return { status: 400, body: { fault_message: error instanceof Error ? error.message : String(error) } };
    }
  }

  async #answer(method: string, path: string, text: string): Promise<FakeAnswer> {
    if (method === 'GET') {
      if (text !== '') throw new Error('GET request cannot have a body.');
      if (path === '/') {
        return {
          status: 200,
          body: { app_name: 'Firecracker', id: this.#id, state: this.#state, vmm_version: '0.0.0' },
        };
      }
      if (path === '/machine-config') return { status: 200, body: this.#machine };
      throw new Error(`Invalid request method and/or path: GET ${path}.`);
    }
    const [, first = '', second] = path.split('/');
    const isNamed = first === 'drives' || first === 'network-interfaces';
    const key = `${method} ${isNamed ? `/${first}` : path}`;
    const shape = shapes[key];
    if (shape === undefined) throw new Error(`Invalid request method and/or path: ${method} ${path}.`);
    if (text === '') throw new Error(`Empty ${method} request.`);
    const body = parse(text, shape);
    if (isNamed) {
      if (second === undefined || second === '') throw new Error('The ID cannot be empty.');
      if (!/^\w+$/.test(second)) {
        throw new Error('API Resource IDs can only contain alphanumeric characters and underscores.');
      }
      if (second !== (body['drive_id'] ?? body['iface_id'])) {
        throw new Error('The id from the path does not match the id from the body!');
      }
    }
    if (beforeBoot.has(key) && this.#state !== 'Not started') throw new Error(late);
    if (afterBoot.has(key) && this.#state === 'Not started') throw new Error(early);
    await this.#act(key, body);
    if (beforeBoot.has(key) && !['PUT /logger', 'PUT /metrics', 'PUT /snapshot/load'].includes(key))
      this.#isBootPath = true;
    return { status: 204 };
  }

  async #act(key: string, body: Body): Promise<void> {
    const backend = this.#backend;
    switch (key) {
      case 'PUT /logger':
      case 'PUT /metrics': {
        if (this.#once.has(key)) throw new Error(`${key}: it was configured before`);
        const path = body['log_path'] ?? body['metrics_path'];
        if (path !== undefined) backend.checkFile(String(path), 'write');
        this.#once.add(key);
        return;
      }
      case 'PUT /machine-config': {
        const {
          vcpu_count: vcpus,
          mem_size_mib: memory,
          smt,
        } = body as { vcpu_count: number; mem_size_mib: number; smt?: boolean };
        if (vcpus < 1 || vcpus > 32 || (smt === true && vcpus > 1 && vcpus % 2 === 1)) {
          throw new Error(
            'The number of vCPUs must be greater than 0, less than 32 and must be 1 or an even number if SMT is enabled.',
          );
        }
        if (memory < 1)
          throw new Error('The memory size (MiB) is either 0, or not a multiple of the configured page size.');
        this.#machine = { vcpu_count: vcpus, mem_size_mib: memory };
        return;
      }
      case 'PUT /boot-source':
        for (const name of ['kernel_image_path', 'initrd_path']) {
          if (body[name] !== undefined) backend.checkFile(String(body[name]), 'read');
        }
        if (String(body['boot_args'] ?? '').length >= 2048)
          throw new Error('The kernel command line is invalid: too large');
        this.#boot = body;
        return;
      case 'PUT /drives': {
        if (body['socket'] !== undefined) throw new Error('vhost-user drives are none of this fake');
        if (body['path_on_host'] === undefined || body['is_read_only'] === undefined) {
          throw new Error('Unable to create the virtio block device: path_on_host and is_read_only are required');
        }
        backend.checkFile(String(body['path_on_host']), 'read');
        if (body['is_read_only'] === false) backend.checkFile(String(body['path_on_host']), 'write');
        const others = [...this.#drives.values()].filter(({ drive_id: id }) => id !== body['drive_id']);
        if (body['is_root_device'] === true && others.some((drive) => drive['is_root_device'] === true)) {
          throw new Error('A root block device already exists!');
        }
        this.#drives.set(String(body['drive_id']), body);
        return;
      }
      case 'PUT /vsock':
        if (Number(body['guest_cid']) < 3) throw new Error('Vsock config error: a guest_cid below 3');
        this.#vsock = String(body['uds_path']);
        return;
      case 'PUT /actions':
        return this.#action(String(body['action_type']));
      case 'PATCH /vm':
        if (body['state'] === 'Paused' && this.#state === 'Running') await backend.pause();
        if (body['state'] === 'Resumed' && this.#state === 'Paused') await backend.resume();
        this.#state = body['state'] === 'Paused' ? 'Paused' : 'Running';
        return;
      case 'PUT /snapshot/create':
        if (this.#state !== 'Paused') throw new Error('Create snapshot error: the microVM must be paused');
        return backend.save(String(body['snapshot_path']), String(body['mem_file_path']));
      case 'PUT /snapshot/load':
        return this.#load(body);
      default:
        throw new Error(`${key} is checked by this fake, and not done`);
    }
  }

  async #action(action: string): Promise<void> {
    if (action !== 'InstanceStart') {
      if (this.#state === 'Not started') throw new Error(early);
      return;
    }
    if (this.#state !== 'Not started') throw new Error(late);
    const boot = this.#boot;
    if (boot === undefined) throw new Error('Cannot start microvm without kernel configuration.');
    const drives = [...this.#drives.values()];
    if (boot['initrd_path'] !== undefined && drives.some((drive) => drive['is_root_device'] === true)) {
      throw new Error('docs/initrd.md: you should not use a drive with is_root_device: true when using an initrd');
    }
    await this.#backend.start({
      vcpus: this.#machine.vcpu_count,
      memoryBytes: this.#machine.mem_size_mib * 1024 * 1024,
      kernel: String(boot['kernel_image_path']),
      initrd: boot['initrd_path'] as string | undefined,
      commandLine: String(boot['boot_args'] ?? ''),
      drives: drives.map((drive) => ({
        path: String(drive['path_on_host']),
        isReadOnly: drive['is_read_only'] === true,
      })),
      vsock: this.#vsock,
    });
    this.#state = 'Running';
  }

  async #load(body: Body): Promise<void> {
    const backend = body['mem_backend'] as { backend_type: string; backend_path: string } | undefined;
    if (backend !== undefined && body['mem_file_path'] !== undefined) {
      throw new Error('too many fields: either `mem_backend` or `mem_file_path` exclusively is required');
    }
    const memory = backend?.backend_path ?? body['mem_file_path'];
    if (memory === undefined) throw new Error('missing field: either `mem_backend` or `mem_file_path` is required');
    if (this.#isBootPath) {
      throw new Error('Loading a microVM snapshot not allowed after configuring boot-specific resources.');
    }
    try {
      if (backend?.backend_type === 'Uffd') throw new Error('Uffd is none of this fake');
      for (const path of [body['snapshot_path'], memory]) this.#backend.checkFile(String(path), 'read');
      const override = body['vsock_override'] as { uds_path: string } | undefined;
      await this.#backend.load(String(body['snapshot_path']), String(memory), override?.uds_path);
      this.#state = 'Paused';
      if (body['resume_vm'] !== true) return;
      await this.#backend.resume();
      this.#state = 'Running';
    } catch (error) {
      this.#backend.die();
      throw error;
    }
  }
}

function parse(text: string, shape: Shape): Body {
  const bad = (why: string): Error =>
    new Error(`An error occurred when deserializing the json body of a request: ${why}.`);
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch (error) {
    throw bad(error instanceof Error ? error.message : String(error));
  }
  const why = mismatch(body, shape);
  if (why !== undefined) throw bad(why);
  return body as Body;
}

function mismatch(value: unknown, field: Field): string | undefined {
  if (field === 'strings')
    return Array.isArray(value) && value.every((item) => typeof item === 'string') ? undefined : 'invalid type';
  if (field === 'integer')
    return Number.isSafeInteger(value) && Number(value) >= 0 ? undefined : `invalid value: ${JSON.stringify(value)}`;
  if (typeof field === 'string') return typeof value === field ? undefined : `invalid type: ${JSON.stringify(value)}`;
  if (Array.isArray(field)) return field.includes(value) ? undefined : `unknown variant \`${String(value)}\``;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'invalid type: a struct is expected';
  const names = Object.keys(field);
  for (const name of names) {
    if (name.endsWith('!') && !(name.slice(0, -1) in value)) return `missing field \`${name.slice(0, -1)}\``;
  }
  for (const [name, item] of Object.entries(value)) {
    const known = (field as Shape)[name] ?? (field as Shape)[`${name}!`];
    if (known === undefined) return `unknown field \`${name}\``;
    const why = mismatch(item, known);
    if (why !== undefined) return `${name}: ${why}`;
  }
  return undefined;
}
