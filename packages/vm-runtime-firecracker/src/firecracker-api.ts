import { DroverError } from '@drover/lease-kit';
import { request } from 'node:http';

/** A bucket of tokens as the API has it: `size` of them, refilled in `refillMs`. */
export interface TokenBucket {
  readonly size: number;
  readonly refillMs: number;
}

/** Bounds of what a machine reads of its drive. Absent: none. */
export interface DriveRate {
  readonly bytes?: TokenBucket | undefined;
  readonly operations?: TokenBucket | undefined;
}

/** One request to Firecracker's API. */
export interface ApiRequest {
  readonly method: 'PUT' | 'PATCH';
  readonly path: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/** What a machine is to be; paths are those in its jail. */
export interface MachineParts {
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly initramfs: string;
  readonly commandLine: string;
  readonly rootDrive: string;
  readonly driveRate: DriveRate;
  readonly vsockSocket: string;
}

/** Where a state is kept, as paths in the jail. */
export interface StateFiles {
  readonly state: string;
  readonly memory: string;
}

/** Files that Firecracker writes about itself; they are there before. */
export interface DiaryFiles {
  readonly log: string;
  readonly metrics: string;
}

const mebibyte = 1024 * 1024;
/** Lowest that the API takes: 0 to 2 are taken. */
const guestCid = 3;
const answerBytesMax = 64 * 1024;

/** What is said before anything else, of a machine that boots and of one that is started again: src/firecracker/swagger/firecracker.yaml. */
export function diaryRequests({ log, metrics }: DiaryFiles): ApiRequest[] {
  return [
    { method: 'PUT', path: '/logger', body: { log_path: log, level: 'Warning', show_level: true } },
    { method: 'PUT', path: '/metrics', body: { metrics_path: metrics } },
  ];
}

/** All requests that boot a machine, in order: no network card, one drive that nobody can write, one vsock. */
export function bootRequests(machine: MachineParts): ApiRequest[] {
  const { vcpus, memoryBytes, kernel, initramfs, commandLine, rootDrive, driveRate, vsockSocket } = machine;
  return [
    {
      method: 'PUT',
      path: '/machine-config',
      body: {
        vcpu_count: vcpus,
        mem_size_mib: Math.ceil(memoryBytes / mebibyte),
        smt: false,
        track_dirty_pages: false,
      },
    },
    {
      method: 'PUT',
      path: '/boot-source',
      body: { kernel_image_path: kernel, initrd_path: initramfs, boot_args: commandLine },
    },
    {
      method: 'PUT',
      path: '/drives/root',
      body: {
        drive_id: 'root',
        // The agent's own file system is the first: docs/initrd.md wants no root device beside one.
        is_root_device: false,
        is_read_only: true,
        path_on_host: rootDrive,
        ...rateOf(driveRate),
      },
    },
    { method: 'PUT', path: '/vsock', body: { guest_cid: guestCid, uds_path: vsockSocket } },
    { method: 'PUT', path: '/actions', body: { action_type: 'InstanceStart' } },
  ];
}

/** Stops a machine where it is and keeps what it is: docs/snapshotting/snapshot-support.md. */
export function saveRequests({ state, memory }: StateFiles): ApiRequest[] {
  return [
    { method: 'PATCH', path: '/vm', body: { state: 'Paused' } },
    {
      method: 'PUT',
      path: '/snapshot/create',
      body: { snapshot_type: 'Full', snapshot_path: state, mem_file_path: memory },
    },
  ];
}

/** Starts a machine from a kept state. Its drive and the path of its socket are those that it had, in a jail of its own. */
export function loadRequests({ state, memory }: StateFiles): ApiRequest[] {
  return [
    {
      method: 'PUT',
      path: '/snapshot/load',
      body: {
        snapshot_path: state,
        mem_backend: { backend_type: 'File', backend_path: memory },
        resume_vm: true,
      },
    },
  ];
}

/** Sends one request. Throws `FIRECRACKER_FAILED` with its fault message; an abort throws the signal's reason. */
export async function callApi(
  socketPath: string,
  { method, path, body }: ApiRequest,
  signal: AbortSignal,
): Promise<void> {
  const text = JSON.stringify(body);
  const headers = {
    accept: 'application/json',
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  };
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const call = request({ socketPath, method, path, headers, agent: false, signal }, (answer) => {
    let said = '';
    answer.setEncoding('utf8');
    answer.on('data', (chunk: string) => {
      if (said.length < answerBytesMax) said += chunk;
    });
    answer.once('error', reject);
    answer.once('end', () => {
      if (answer.statusCode === 204 || answer.statusCode === 200) return resolve();
      reject(failed(`${method} ${path}: ${answer.statusCode} ${faultOf(said)}`));
    });
  });
  call.once('error', (error) => reject(signal.aborted ? signal.reason : failed(`${method} ${path}: ${error.message}`)));
  call.end(text);
  await promise;
}

function rateOf({ bytes, operations }: DriveRate): Readonly<Record<string, unknown>> {
  if (bytes === undefined && operations === undefined) return {};
  return {
    rate_limiter: {
      ...(bytes === undefined ? {} : { bandwidth: bucketOf(bytes) }),
      ...(operations === undefined ? {} : { ops: bucketOf(operations) }),
    },
  };
}

function bucketOf({ size, refillMs }: TokenBucket): Readonly<Record<string, number>> {
  return { size, refill_time: refillMs };
}

function faultOf(text: string): string {
  try {
    const { fault_message: fault } = JSON.parse(text) as { readonly fault_message?: unknown };
    if (typeof fault === 'string') return fault;
  } catch {
    // What it says is no JSON.
  }
  return text.slice(0, 1_000);
}

function failed(message: string): DroverError {
  return new DroverError({ code: 'FIRECRACKER_FAILED', advice: 'unavailable', message: `Firecracker: ${message}` });
}
