export { createQemuDriver, type QemuDriverDeps, type QemuDriverOptions } from './qemu-driver.ts';
export type { GuestKernel } from '@drover/vm-agent';
export type { QemuProgram } from './qemu-command.ts';
export type { Accelerator } from './choose-accelerator.ts';
