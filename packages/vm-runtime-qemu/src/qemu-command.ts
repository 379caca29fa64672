import { agentPort } from './guest-command-line.ts';

/** Where QEMU is, and how it is called. */
export interface QemuProgram {
  /** Default: `qemu-system-x86_64` on PATH. */
  readonly path: string;
  /** What it needs in its environment, e.g. LD_LIBRARY_PATH. */
  readonly env: Readonly<Record<string, string>>;
  /** Folders of its firmware, where they are not those that it was built for. */
  readonly firmwareFolders: readonly string[];
}

/** One machine. */
export interface QemuMachine {
  readonly accelerator: 'kvm' | 'tcg';
  readonly vcpus: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly initramfs: string;
  readonly commandLine: string;
  readonly rootDrive: string;
  /** Unix socket of the agent's port, which QEMU makes. */
  readonly agentSocket: string;
  /** Unix socket of the control connection; absent: none. */
  readonly controlSocket?: string | undefined;
  /** An open file with the state to start from, by its number in QEMU's process; absent: it boots. */
  readonly stateFd?: number | undefined;
}

const mebibyte = 1024 * 1024;
const translationCacheMb = 64;

/** QEMU's command line: a microvm without network, with one drive that nobody can write and one port for the agent. */
export function qemuArguments({ firmwareFolders }: QemuProgram, machine: QemuMachine): string[] {
  const {
    accelerator,
    vcpus,
    memoryBytes,
    kernel,
    initramfs,
    commandLine,
    rootDrive,
    agentSocket,
    controlSocket,
    stateFd,
  } = machine;
  return [
    ...firmwareFolders.flatMap((folder) => ['-L', folder]),
    ...['-M', 'microvm,rtc=on,pit=on,pic=on', '-cpu', accelerator === 'kvm' ? 'host' : 'max'],
    ...['-accel', accelerator === 'kvm' ? 'kvm' : `tcg,tb-size=${translationCacheMb}`],
    ...['-m', String(Math.ceil(memoryBytes / mebibyte)), '-smp', String(vcpus)],
    ...['-nodefaults', '-no-user-config', '-no-reboot', '-display', 'none', '-serial', 'stdio'],
    ...['-kernel', kernel, '-initrd', initramfs, '-append', commandLine],
    ...[
      '-drive',
      `id=root,file=${rootDrive},format=raw,if=none,readonly=on`,
      '-device',
      'virtio-blk-device,drive=root',
    ],
    ...['-device', 'virtio-serial-device', '-chardev', `socket,id=agent,path=${agentSocket},server=on,wait=off`],
    ...['-device', `virtserialport,chardev=agent,name=${agentPort}`],
    ...(controlSocket === undefined ? [] : ['-qmp', `unix:${controlSocket},server=on,wait=off`]),
    // What saves a state has QEMU start a program; what runs others' programs may not.
    ...(controlSocket === undefined
      ? ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny']
      : []),
    ...(stateFd === undefined ? [] : ['-incoming', `fd:${stateFd}`]),
  ];
}
