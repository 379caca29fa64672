import { expect, test } from 'vitest';
import { bubblewrapArguments } from './bubblewrap-arguments.ts';
import { seccompFilter } from './seccomp-filter.ts';

const image = { digest: 'sha256:0', driver: 'namespace', sizeBytes: 0 };
const bounds = { vcpus: 1, memoryBytes: 1, diskBytes: 1_000, processesMax: 1, lifetimeMs: 1 };
const spec = { id: 'i', tenant: 't', image, ...bounds };

test('a sandbox has nothing of the host but an image that nobody can write, and the agent', () => {
  const line = bubblewrapArguments({ spec, folder: '/image', agent: '/agent', filterFd: 4 }).join(' ');
  expect(line).toContain('--unshare-all --unshare-user --uid 65534 --gid 65534 --cap-drop ALL');
  expect(line).toContain('--ro-bind /image /');
  expect(line.match(/ --(ro-)?bind /g)).toHaveLength(2);
  // What may be written has one bound in all.
  expect(line).toContain('--size 750 --tmpfs /run/drover --size 250 --tmpfs /tmp');
  expect(line).toContain('--seccomp 4');
});

test('the filter of system calls is a program for the processors that are known, and none for others', () => {
  for (const processor of ['x64', 'arm64']) {
    const program = seccompFilter(processor)!;
    expect(program.length % 8).toBe(0);
    // The last instruction allows.
    expect(program.readUInt32LE(program.length - 4)).toBe(0x7fff_0000);
  }
  expect(seccompFilter('mips')).toBeUndefined();
});
