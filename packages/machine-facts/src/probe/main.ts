import { cpu, cpuFlags, graphics, osInfo, system } from 'systeminformation';

/**
 * A process of its own that asks what may take long, or hang: systeminformation calls programs (`lscpu`, `lspci`,
 * `nvidia-smi`, …) and drivers. Whoever started it ends it, with all its children, when it takes too long. It prints one line
 * of JSON.
 */

// The one who asked has ended: nobody else would end a program that hangs.
process.stdin.resume().on('close', () => process.kill(-process.pid, 'SIGKILL'));

async function known<Value>(asked: Promise<Value>): Promise<Value | undefined> {
  return asked.catch(() => undefined);
}

const [processor, flags, pictures, release, machine] = await Promise.all([
  known(cpu()),
  known(cpuFlags()),
  known(graphics()),
  known(osInfo()),
  known(system()),
]);
const text = JSON.stringify({
  cpuVendor: processor?.vendor,
  physicalCores: processor?.physicalCores,
  cpuFlags: flags,
  gpus: pictures?.controllers.map(({ model, vendor, vram, memoryTotal, driverVersion }) => ({
    model,
    vendor,
    memoryMiB: memoryTotal ?? vram,
    driverVersion,
  })),
  distribution: release?.distro,
  distributionVersion: release?.release,
  machineVendor: machine?.manufacturer,
  machineModel: machine?.model,
  virtualization: machine?.virtual ? machine.virtualHost || 'other' : undefined,
});
process.stdout.write(`${text}\n`, () => process.exit(0));
