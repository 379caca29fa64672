import { isDroverError } from '@drover/lease-kit';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import {
  defaultWorkerConfig,
  defaultWorkerConfigPath,
  loadWorkerConfig,
  validateWorkerConfig,
  workerConfigWarnings,
} from './index.ts';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'worker-config-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function load(text: string) {
  const file = join(dir, 'worker.toml');
  writeFileSync(file, text);
  return loadWorkerConfig(file);
}

/** Every key that the reference has, in both of its later forms. */
const reference = `
listen = ":9092"
worker_id = ""
public_addr = "10.0.0.7:9092"
paranoid = true
metrics_listen = "127.0.0.1:9192"
[tls]
cert_file = "worker.crt"
key_file = "worker.key"
[scheduler]
url = "https://scheduler.example:9091"
worker_token = "0123456789abcdef"
ca_file = "ca.crt"
[runtime]
handler = "firecracker"
[runtime.firecracker]
firecracker_bin = "/usr/bin/firecracker"
jailer_bin = "/usr/bin/jailer"
kernel_image = "/var/lib/hpcc/vmlinux"
rootfs_dir = "/var/lib/hpcc/rootfs"
run_dir = "/run/hpcc"
uid = 1000
gid = 1000
boot_args = "console=ttyS0"
[runtime.hcsshim]
address = "npipe"
namespace = "hpcc"
run_dir = "C:\\\\run"
runtime = "io.containerd.runhcs.v1"
snapshotter = "windows"
isolation = "hyperv"
[vm]
memory = "2GB"
vcpus = 4
idle_timeout = ""
session_timeout = "1h30m"
[pool]
max_active = 32
[image]
pause_linux_amd64 = "/opt/pause-amd64"
pause_linux_arm64 = "/opt/pause-arm64"
pause_windows_amd64 = "pause.exe"
agent_linux_amd64 = ""
agent_linux_arm64 = ""
agent_windows_amd64 = "agent.exe"
advertised_digests = ["sha256:${'a'.repeat(64)}"]
idle_timeout = "24h"
[[cache]]
type = "disk"
location = "/var/cache/hpcc"
max_size = "10GB"
[[cache]]
type = "s3"
bucket = "cache"
region = "eu-central-1"
endpoint = "http://127.0.0.1:9000"
access_key = "key"
secret_key = "secret"
max_size = "100GB"
auto_create = true
`;

test('every key of the reference is taken, under its name', () => {
  const config = load(reference);
  expect(validateWorkerConfig(config)).toEqual([]);
  expect(config.vm).toMatchObject({ memory: 2 * 1_024 ** 3, idle_timeout: 0, session_timeout: 5_400_000 });
  expect(config.cache).toMatchObject([
    { type: 'disk', max_size: 10 * 1_024 ** 3 },
    { type: 's3', auto_create: true },
  ]);
  expect(workerConfigWarnings(config)).toHaveLength(8);
});

test('without a file the defaults hold, and what has none is told', () => {
  const config = loadWorkerConfig(undefined, { XDG_CONFIG_HOME: dir });
  expect(config).toEqual(defaultWorkerConfig());
  expect(config).toMatchObject({
    listen: ':9092',
    runtime: { handler: 'firecracker' },
    vm: { memory: 2 * 1_024 ** 3, vcpus: 4, idle_timeout: 600_000, session_timeout: 28_800_000 },
    pool: { max_active: 32 },
    image: { idle_timeout: 86_400_000 },
  });
  const keys = validateWorkerConfig(config).map((fault) => fault.split(':')[0]);
  expect(keys).toEqual([
    'public_addr',
    'tls.cert_file',
    'tls.key_file',
    'scheduler.url',
    'scheduler.worker_token',
    'runtime.firecracker.kernel_image',
    'runtime.firecracker.uid',
    'runtime.firecracker.gid',
  ]);
});

test('a file that is wrong in several ways says all of them', () => {
  expect(() =>
    load('paranoid = true\n[vm]\nmemory = "much"\nvcpus = 0\nidle_timeout = "10 x"\n[pool]\nmax_active = 0'),
  ).toThrow(
    expect.toSatisfy((error: unknown) => {
      const text = String((error as Error).message);
      const names = [
        'vm.memory',
        'vm.vcpus',
        'vm.idle_timeout',
        'pool.max_active',
        'public_addr',
        'scheduler.url',
        'paranoid',
      ];
      return isDroverError(error, 'CONFIG_INVALID') && names.every((name) => text.includes(`${name}: `));
    }),
  );
  expect(() => load('[runtime]\nhandler = "docker"')).toThrow(
    /"docker" is no way to make sandboxes; allowed are firecracker,/,
  );
  expect(() => load('listen = ')).toThrow(/worker.toml:1:/);
  expect(() => load('[[cache]]\ntype = "redis"')).toThrow(/is no kind of cache; allowed are/);
});

test('Drover’s own path goes first, the reference’s is found', () => {
  const at = (name: string): string => join(dir, name, 'worker.toml');
  const env = { XDG_CONFIG_HOME: dir };
  expect(defaultWorkerConfigPath(env)).toBe(at('drover'));
  for (const name of ['hpcc', 'drover']) {
    mkdirSync(join(dir, name));
    writeFileSync(at(name), '');
    expect(defaultWorkerConfigPath(env)).toBe(at(name));
  }
  expect(defaultWorkerConfigPath({ HOME: '/home/ada' })).toBe('/home/ada/.config/drover/worker.toml');
});
