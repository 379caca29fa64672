import { describe, expect, test } from 'vitest';
import { qemuArguments, type QemuMachine } from './qemu-command.ts';

const program = { path: 'qemu', env: {}, firmwareFolders: ['/firmware'] };
const machine: QemuMachine = {
  accelerator: 'tcg',
  vcpus: 2,
  memoryBytes: 1_000_000_000,
  kernel: '/k',
  initramfs: '/i',
  commandLine: 'quiet',
  rootDrive: '/r.ext4',
  agentSocket: '/run/a',
};
const line = (more: Partial<QemuMachine> = {}): string => qemuArguments(program, { ...machine, ...more }).join(' ');

describe('the command line of a machine', () => {
  test('has one drive that nobody can write, one port, and no network', () => {
    expect(line()).toContain('file=/r.ext4,format=raw,if=none,readonly=on');
    expect(line()).toContain('-nodefaults -no-user-config');
    expect(line()).not.toMatch(/net(dev)?|virtio-net/);
    // Rounded up: a machine has what was asked for at least.
    expect(line()).toContain('-m 954 -smp 2');
  });

  test('may start no program, unless its state is to be kept', () => {
    expect(line()).toContain('spawn=deny');
    expect(line({ controlSocket: '/run/c' })).not.toContain('spawn=deny');
  });

  test('starts from a state that is open already, and boots without one', () => {
    expect(line({ stateFd: 3 })).toContain('-incoming fd:3');
    expect(line()).not.toContain('-incoming');
  });
});
