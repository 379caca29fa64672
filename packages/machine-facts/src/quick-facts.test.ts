import { availableParallelism, hostname, totalmem } from 'node:os';
import { expect, test } from 'vitest';
import { cgroupLimits } from './cgroup-limits.ts';
import { cloudInstance } from './cloud-instance.ts';
import { containerKinds } from './container-kinds.ts';
import { distributionFrom } from './os-release.ts';
import { quickFacts } from './quick-facts.ts';
import { filesOf } from './system-files.test.fixture.ts';

test.each([
  [
    'NAME="Ubuntu"\nID=ubuntu\nID_LIKE=debian\nVERSION_ID="24.04"\n',
    { id: 'ubuntu', like: ['debian'], version: '24.04' },
  ],
  [
    "ID='Rocky'\nID_LIKE='rhel centos fedora'\nVERSION_ID=9.4",
    { id: 'rocky', like: ['rhel', 'centos', 'fedora'], version: '9.4' },
  ],
  ['# rolling\n ID=arch\nBUILD_ID=rolling', { id: 'arch', like: [], version: undefined }],
  ['ID="a\\$b\\"c"', { id: 'a$b"c', like: [], version: undefined }],
  ['VERSION_ID=1\nID=', undefined],
  ['', undefined],
])('a distribution is read from %j', (text, wanted) => expect(distributionFrom(text)).toEqual(wanted));

test.each([
  [
    'of version 2, the least of a group and those above it',
    {
      '/proc/self/cgroup': '0::/system.slice/agent.service',
      '/sys/fs/cgroup/system.slice/agent.service/cpu.max': '400000 100000',
      '/sys/fs/cgroup/system.slice/agent.service/memory.max': 'max',
      '/sys/fs/cgroup/system.slice/cpu.max': '150000 100000',
      '/sys/fs/cgroup/system.slice/memory.max': '1073741824',
    },
    { cores: 1.5, ramBytes: 2 ** 30 },
  ],
  [
    'of a container, which sees its own group as the root',
    { '/proc/self/cgroup': '0::/', '/sys/fs/cgroup/cpu.max': '200000 100000', '/sys/fs/cgroup/memory.max': 'max' },
    { cores: 2 },
  ],
  [
    'of version 1',
    {
      '/proc/self/cgroup': '5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/docker/x',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '50000',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '536870912',
    },
    { cores: 0.5, ramBytes: 2 ** 29 },
  ],
  [
    'that say no limit',
    {
      '/proc/self/cgroup': '4:memory:/\n5:cpu:/\n0::/x',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1',
      '/sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712',
      '/sys/fs/cgroup/x/cpu.max': 'max 100000',
    },
    {},
  ],
  ['of a machine without any', {}, {}],
])('limits of control groups: %s', (_name, files, wanted) => expect(cgroupLimits(filesOf(files))).toEqual(wanted));

test.each([
  [{ '/.dockerenv': '' }, {}, ['docker']],
  [{ '/run/.containerenv': 'engine="podman-4"' }, {}, ['podman']],
  [{ '/.dockerenv': '', '/proc/1/cgroup': '0::/kubepods.slice/x' }, {}, ['docker', 'kubernetes']],
  [{}, { KUBERNETES_SERVICE_HOST: '10.0.0.1' }, ['kubernetes']],
  [{ '/run/systemd/container': 'lxc' }, {}, ['lxc']],
  [{ '/proc/1/environ': 'PATH=/bin\0container=lxc\0TERM=x' }, {}, ['lxc']],
  [{ '/run/systemd/container': 'a b=c\n' }, {}, []],
  [{ '/proc/1/cgroup': '0::/init.scope' }, {}, []],
])('containers of %j with %j are %j', (files, env, wanted) => {
  expect(containerKinds(filesOf(files as Record<string, string>), env as Record<string, string>)).toEqual(wanted);
});

const dmi = (tables: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(tables).map(([table, text]) => [`/sys/class/dmi/id/${table}`, text]));

test.each([
  [
    dmi({ sys_vendor: 'Amazon EC2', product_name: 'm7i.large', board_asset_tag: 'i-0abc' }),
    { cloud: 'aws', instanceId: 'i-0abc', instanceType: 'm7i.large' },
  ],
  [dmi({ product_name: 'Google Compute Engine' }), { cloud: 'gcp' }],
  [
    dmi({ sys_vendor: 'Microsoft Corporation', chassis_asset_tag: '7783-7084-3265-9085-8269-3286-77' }),
    { cloud: 'azure' },
  ],
  [dmi({ sys_vendor: 'Microsoft Corporation', product_name: 'Virtual Machine' }), undefined],
  [
    {
      '/run/cloud-init/instance-data.json': JSON.stringify({
        v1: { cloud_name: 'scaleway', instance_id: '42', region: 'fr-par', availability_zone: 'fr-par-1' },
        ds: { meta_data: { instance_type: 'DEV1-S' } },
      }),
    },
    { cloud: 'scaleway', instanceId: '42', instanceType: 'DEV1-S', region: 'fr-par', zone: 'fr-par-1' },
  ],
  [{ '/run/cloud-init/instance-data.json': '{"v1":{"cloud_name":"none"}}' }, undefined],
  [{ '/run/cloud-init/instance-data.json': '[' }, undefined],
  [{ '/run/cloud-init/instance-data.json': '{"v1":7}' }, undefined],
])('the cloud of %j is %j', (files, wanted) => {
  expect(cloudInstance(filesOf(files as Record<string, string>))).toEqual(wanted);
});

test('this machine is described at once, and what a control group allows counts', () => {
  const small = filesOf({
    '/proc/self/cgroup': '0::/',
    '/sys/fs/cgroup/cpu.max': '50000 100000',
    '/sys/fs/cgroup/memory.max': String(64 * 2 ** 20),
    '/etc/os-release': 'ID=ubuntu\nID_LIKE=debian\nVERSION_ID=24.04',
  });
  const facts = quickFacts({ files: small, env: {} });
  expect([facts.cores, facts.ramBytes]).toEqual([1, 64 * 2 ** 20]);
  expect(facts.properties).toMatchObject({
    os: process.platform,
    HostName: hostname(),
    Distribution: 'ubuntu',
    DistributionFamily: ['ubuntu', 'debian'],
    RAM: String(64 * 2 ** 20),
    cpus: '1',
  });
  expect(facts.properties).not.toHaveProperty('Container');
  const free = quickFacts({ files: filesOf({}), env: {} });
  expect(free.cores).toBe(availableParallelism());
  expect(free.ramBytes).toBeLessThanOrEqual(totalmem());
});
