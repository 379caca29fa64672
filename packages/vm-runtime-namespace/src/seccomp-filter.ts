import { arch, endianness } from 'node:os';

/**
 * Calls that no compiler needs and that reach far into the kernel; they fail with EPERM. By the numbers of
 * asm/unistd_64.h (x64) and asm-generic/unistd.h (arm64).
 */
const refused: Readonly<Record<string, readonly [x64: number | undefined, arm64: number | undefined]>> = {
  ptrace: [101, 117],
  syslog: [103, 116],
  personality: [135, 92],
  pivot_root: [155, 41],
  acct: [163, 89],
  settimeofday: [164, 170],
  mount: [165, 40],
  umount2: [166, 39],
  swapon: [167, 224],
  swapoff: [168, 225],
  reboot: [169, 142],
  iopl: [172, undefined],
  ioperm: [173, undefined],
  init_module: [175, 105],
  delete_module: [176, 106],
  quotactl: [179, 60],
  lookup_dcookie: [212, 18],
  clock_settime: [227, 112],
  mbind: [237, 235],
  set_mempolicy: [238, 237],
  kexec_load: [246, 104],
  add_key: [248, 217],
  request_key: [249, 218],
  keyctl: [250, 219],
  migrate_pages: [256, 238],
  unshare: [272, 97],
  move_pages: [279, 239],
  perf_event_open: [298, 241],
  fanotify_init: [300, 262],
  name_to_handle_at: [303, 264],
  open_by_handle_at: [304, 265],
  setns: [308, 268],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  kcmp: [312, 272],
  finit_module: [313, 273],
  kexec_file_load: [320, 294],
  bpf: [321, 280],
  userfaultfd: [323, 282],
  io_uring_setup: [425, 425],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  mount_setattr: [442, 442],
};

/** AUDIT_ARCH_* of linux/audit.h. */
const architectures: Readonly<Record<string, { readonly audit: number; readonly column: 0 | 1 }>> = {
  x64: { audit: 0xc000_003e, column: 0 },
  arm64: { audit: 0xc000_00b7, column: 1 },
};

/** linux/filter.h and linux/seccomp.h. */
const load = 0x20;
const jumpIfEqual = 0x15;
const jumpIfAtLeast = 0x35;
const jumpIfAnyBit = 0x45;
const answer = 0x06;
const allow = 0x7fff_0000;
const killProcess = 0x8000_0000;
const refuse = 0x0005_0001;
const refuseUnknown = 0x0005_0026;
const numberAt = 0;
const architectureAt = 4;
const firstArgumentAt = 16;
/** Calls of the x32 interface, on x64. */
const x32Bit = 0x4000_0000;
/** CLONE_NEW*: namespaces; clone3 hides its flags and is answered as unknown, so that libraries fall back to clone. */
const cloneNamespaces = 0x7e02_0000;
const clone: readonly [number, number] = [56, 220];
const clone3 = 435;

/** A program for `bwrap --seccomp`, or undefined where the numbers of this processor are not known. */
export function seccompFilter(processor: string = arch()): Buffer | undefined {
  const known = architectures[processor];
  if (known === undefined || endianness() !== 'LE') return undefined;
  const { audit, column } = known;
  const numbers = Object.values(refused).flatMap((pair) => pair[column] ?? []);
  const program: [code: number, jumpTrue: number, jumpFalse: number, value: number][] = [
    [load, 0, 0, architectureAt],
    [jumpIfEqual, 1, 0, audit],
    [answer, 0, 0, killProcess],
    [load, 0, 0, numberAt],
    [jumpIfAtLeast, 0, 1, column === 0 ? x32Bit : 0xffff_ffff],
    [answer, 0, 0, refuseUnknown],
    [jumpIfEqual, 0, 1, clone3],
    [answer, 0, 0, refuseUnknown],
    ...numbers.flatMap((number): typeof program => [
      [jumpIfEqual, 0, 1, number],
      [answer, 0, 0, refuse],
    ]),
    [jumpIfEqual, 0, 3, clone[column]],
    [load, 0, 0, firstArgumentAt],
    [jumpIfAnyBit, 0, 1, cloneNamespaces],
    [answer, 0, 0, refuse],
    [answer, 0, 0, allow],
  ];
  const bytes = Buffer.alloc(8 * program.length);
  program.forEach(([code, jumpTrue, jumpFalse, value], index) => {
    bytes.writeUInt16LE(code, 8 * index);
    bytes.writeUInt8(jumpTrue, 8 * index + 2);
    bytes.writeUInt8(jumpFalse, 8 * index + 3);
    bytes.writeUInt32LE(value, 8 * index + 4);
  });
  return bytes;
}
