import { describe, expect, test } from 'vitest';
import { bootRequests, diaryRequests, loadRequests, saveRequests, type ApiRequest } from './firecracker-api.ts';
import { FakeApi, type FakeBackend } from './fake-api.test.fixture.ts';

const log: string[] = [];
const backend: FakeBackend = {
  checkFile: (path) => {
    if (path.includes('missing')) throw new Error(`there is no ${path}`);
  },
  start: async () => void log.push('start'),
  pause: async () => void log.push('pause'),
  resume: async () => void log.push('resume'),
  save: async () => void log.push('save'),
  load: async () => void log.push('load'),
  die: () => void log.push('die'),
};
const newApi = (): FakeApi => new FakeApi('551e7604-e35c-42b3-b825-416853441234', backend);

async function send(api: FakeApi, requests: readonly ApiRequest[]): Promise<unknown[]> {
  const answers: unknown[] = [];
  for (const { method, path, body } of requests) {
    const answer = await api.answer(method, path, JSON.stringify(body));
    answers.push(answer.status === 204 ? 204 : (answer.body as { fault_message: string }).fault_message);
  }
  return answers;
}

const put = (path: string, body: Record<string, unknown>): ApiRequest => ({ method: 'PUT', path, body });
const patch = (path: string, body: Record<string, unknown>): ApiRequest => ({ method: 'PATCH', path, body });
const kernel = put('/boot-source', {
  kernel_image_path: './vmlinux',
  boot_args: 'console=ttyS0 reboot=k panic=1',
});
const startIt = put('/actions', { action_type: 'InstanceStart' });
const machine = {
  ...{ vcpus: 2, memoryBytes: 256 * 1024 * 1024, kernel: '/kernel', initramfs: '/initramfs', commandLine: 'quiet' },
  ...{ rootDrive: '/root.ext4', driveRate: { operations: { size: 10, refillMs: 1 } }, vsockSocket: '/run/vsock.sock' },
};
const files = { state: '/state', memory: '/memory', log: '/log', metrics: '/metrics' };

/** As docs/getting-started.md, logger.md, vsock.md, api_requests/*.md and snapshotting/*.md show them. */
const shown: readonly ApiRequest[] = [
  put('/logger', { log_path: 'logs.fifo', level: 'Warning', show_level: false, show_log_origin: false }),
  put('/metrics', { metrics_path: 'metrics.fifo' }),
  kernel,
  put('/drives/rootfs', {
    ...{ drive_id: 'rootfs', path_on_host: './rootfs.ext4', is_root_device: true, is_read_only: false },
  }),
  put('/drives/block', {
    ...{ drive_id: 'block', path_on_host: './b', is_root_device: false, is_read_only: true, io_engine: 'Sync' },
    ...{
      cache_type: 'Writeback',
      rate_limiter: { bandwidth: { size: 100_000, one_time_burst: 4096, refill_time: 150 } },
    },
  }),
  put('/vsock', { guest_cid: 3, uds_path: './v.sock' }),
  put('/machine-config', { vcpu_count: 2, mem_size_mib: 1024, smt: false, track_dirty_pages: true }),
  startIt,
  put('/actions', { action_type: 'FlushMetrics' }),
  patch('/vm', { state: 'Paused' }),
  put('/snapshot/create', { snapshot_type: 'Full', snapshot_path: './snapshot_file', mem_file_path: './mem_file' }),
  patch('/vm', { state: 'Resumed' }),
];

const unknownField = (name: string): RegExp => new RegExp(`unknown field \`${name}\``);

describe('the fake of the API', () => {
  test('takes what the documentation shows', async () => {
    expect(await send(newApi(), shown)).toEqual(shown.map(() => 204));
    const load = put('/snapshot/load', {
      ...{ snapshot_path: './snapshot_file', mem_backend: { backend_path: './mem_file', backend_type: 'File' } },
      ...{ track_dirty_pages: true, resume_vm: false, vsock_override: { uds_path: './v.sock.2' } },
    });
    expect(await send(newApi(), [shown[0]!, load, patch('/vm', { state: 'Resumed' })])).toEqual([204, 204, 204]);
  });

  test.each<[string, readonly ApiRequest[], RegExp]>([
    ['a start without a kernel', [startIt], /without kernel/],
    ['a second start', [kernel, startIt, startIt], /after starting/],
    ['a drive after the start', [kernel, startIt, shown[3]!], /after starting/],
    ['a pause before the start', [patch('/vm', { state: 'Paused' })], /before starting/],
    ['a snapshot before the start', [shown[10]!], /before starting/],
    ['a snapshot of what runs', [kernel, startIt, shown[10]!], /must be paused/],
    ['a load after a kernel', [kernel, ...loadRequests(files)], /not allowed after configuring/],
    [
      'a load of two memories',
      [
        put('/snapshot/load', {
          snapshot_path: 'a',
          mem_file_path: 'b',
          mem_backend: { backend_type: 'File', backend_path: 'c' },
        }),
      ],
      /too many fields/,
    ],
    ['a load of no memory', [put('/snapshot/load', { snapshot_path: 'a' })], /missing field/],
    [
      'a load of what is missing',
      [put('/snapshot/load', { snapshot_path: 'missing', mem_file_path: 'b' })],
      /there is no/,
    ],
    ['an unknown field', [put('/vsock', { guest_cid: 3, uds_path: 'v', cid: 4 })], unknownField('cid')],
    [
      'an unknown field within',
      [put('/drives/a', { drive_id: 'a', is_root_device: false, rate_limiter: { bytes: {} } })],
      unknownField('bytes'),
    ],
    ['a missing field', [put('/machine-config', { vcpu_count: 1 })], /missing field `mem_size_mib`/],
    ['a wrong type', [put('/machine-config', { vcpu_count: '1', mem_size_mib: 1 })], /vcpu_count: invalid value/],
    ['an unknown action', [put('/actions', { action_type: 'Stop' })], /unknown variant/],
    ['another id in the path', [put('/drives/b', { drive_id: 'a', is_root_device: false })], /does not match/],
    ['an id with a hyphen', [put('/drives/a-b', { drive_id: 'a-b', is_root_device: false })], /alphanumeric/],
    ['a reserved address', [put('/vsock', { guest_cid: 2, uds_path: 'v' })], /below 3/],
    ['33 processors', [put('/machine-config', { vcpu_count: 33, mem_size_mib: 128 })], /vCPUs/],
    ['no memory', [put('/machine-config', { vcpu_count: 1, mem_size_mib: 0 })], /memory size/],
    ['a second logger', [shown[0]!, shown[0]!], /configured before/],
    ['a kernel that is missing', [put('/boot-source', { kernel_image_path: 'missing' })], /there is no/],
    ['a path that is none', [put('/kernel', { a: 1 })], /Invalid request method/],
    [
      'a root drive beside a first file system',
      [put('/boot-source', { kernel_image_path: 'k', initrd_path: 'i' }), shown[3]!, startIt],
      /is_root_device/,
    ],
  ])('refuses %s', async (_, requests, fault) => {
    const answers = await send(newApi(), requests);
    expect(answers.slice(0, -1).every((answer) => answer === 204)).toBe(true);
    expect(answers.at(-1)).toMatch(fault);
  });

  test('takes all that the driver asks of it, in its order', async () => {
    log.length = 0;
    const boot = [...diaryRequests(files), ...bootRequests(machine), ...saveRequests(files)];
    expect(await send(newApi(), boot)).toEqual(boot.map(() => 204));
    const load = [...diaryRequests(files), ...loadRequests(files)];
    expect(await send(newApi(), load)).toEqual(load.map(() => 204));
    expect(log).toEqual(['start', 'pause', 'save', 'load', 'resume']);
  });
});
