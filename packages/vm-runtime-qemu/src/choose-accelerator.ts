import { connectSocket, GuestConnection } from '@drover/vm-agent';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { qemuArguments, type QemuProgram } from './qemu-command.ts';

/** How a machine's instructions are carried out: by the processor, or by a program. */
export type Accelerator = 'kvm' | 'tcg';

/** What is tried. */
interface Trial {
  readonly kernel: string;
  readonly initramfs: string;
  readonly stateDir: string;
}

const versionMs = 10_000;
/** A machine with KVM says its first words within a second. */
const trialMs = 10_000;

/** What QEMU is, and what it can use here; the answer for KVM is kept until the host is started again. */
export async function chooseAccelerator(
  wanted: Accelerator | 'auto',
  qemu: QemuProgram,
  trial: Trial,
): Promise<{ readonly accelerator: Accelerator; readonly version: string }> {
  const version = await versionOf(qemu);
  if (wanted !== 'auto') return { accelerator: wanted, version };
  const path = join(trial.stateDir, 'accelerator.json');
  const host = { bootId: bootId(), version };
  try {
    const kept = JSON.parse(readFileSync(path, 'utf8')) as typeof host & { readonly accelerator: Accelerator };
    if (kept.bootId === host.bootId && kept.version === version) return { accelerator: kept.accelerator, version };
  } catch {
    // Nobody has tried, or what was written is of no use.
  }
  const accelerator = (await bootsWithKvm(qemu, trial)) ? 'kvm' : 'tcg';
  writeFileSync(path, JSON.stringify({ ...host, accelerator }), { mode: 0o600 });
  return { accelerator, version };
}

async function versionOf(qemu: QemuProgram): Promise<string> {
  const child = spawn(qemu.path, ['--version'], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: versionMs,
    killSignal: 'SIGKILL',
    env: { PATH: process.env['PATH'] ?? '', ...qemu.env },
  });
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => (text = (text + chunk.toString()).slice(0, 1_000)));
  }
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0) throw new Error(`${qemu.path} does not start: ${text.trim()}`);
  return /version (\S+)/.exec(text)?.[1] ?? text.trim();
}

/** Boots a machine without a root drive: its agent opens its port, which is what is waited for. */
async function bootsWithKvm(qemu: QemuProgram, { kernel, initramfs, stateDir }: Trial): Promise<boolean> {
  const socket = join(stateDir, 'run', 'trial.a');
  const args = qemuArguments(qemu, {
    ...{ accelerator: 'kvm', vcpus: 1, memoryBytes: 128 * 1024 * 1024, kernel, initramfs },
    commandLine: 'quiet reboot=t panic=-1 nokaslr drover.transport=serial:drover',
    ...{ rootDrive: '/dev/null', agentSocket: socket, controlSocket: undefined, stateFd: undefined },
  });
  const child = spawn(qemu.path, args, {
    stdio: 'ignore',
    env: { PATH: process.env['PATH'] ?? '', ...qemu.env },
  });
  const ended = once(child, 'close').catch(() => undefined);
  const late = AbortSignal.timeout(trialMs);
  try {
    const stream = await Promise.race([connectSocket(socket, late), ended.then(() => undefined)]);
    if (stream === undefined) return false;
    const connection = await Promise.race([GuestConnection.open(stream, late), ended.then(() => undefined)]);
    await connection?.close();
    return connection !== undefined;
  } catch {
    return false;
  } finally {
    child.kill('SIGKILL');
    await ended;
    rmSync(socket, { force: true });
  }
}

function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'latin1').trim();
}
