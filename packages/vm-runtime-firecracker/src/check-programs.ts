import { DroverError, messageOf } from '@drover/lease-kit';
import { execFile } from 'node:child_process';
import { existsSync, realpathSync } from 'node:fs';
import { promisify } from 'node:util';

const run = promisify(execFile);
const versionMs = 10_000;

/** Firecracker and its jailer, as they are on this machine. */
export interface Programs {
  /** Without links: the jailer names folders after it. */
  readonly firecracker: string;
  readonly jailer: string;
  readonly version: string;
}

/**
 * Checks that both programs start and belong together, and that this process may use them. Throws `DRIVER_UNAVAILABLE` with what is
 * missing.
 */
export async function checkPrograms(firecracker: string, jailer: string, files: readonly string[]): Promise<Programs> {
  if (process.geteuid?.() !== 0) throw unavailable('the jailer makes jails as root alone');
  for (const file of [firecracker, jailer, ...files]) if (!existsSync(file)) throw unavailable(`there is no ${file}`);
  const programs = { firecracker: realpathSync(firecracker), jailer: realpathSync(jailer) };
  const [version, jailerVersion] = await Promise.all([versionOf(programs.firecracker), versionOf(programs.jailer)]);
  if (version !== jailerVersion) {
    throw unavailable(`Firecracker is of version ${version} and its jailer of ${jailerVersion}: they must be of one`);
  }
  return { ...programs, version };
}

/** What a driver throws where it cannot work. */
export function unavailable(message: string): DroverError {
  return new DroverError({
    code: 'DRIVER_UNAVAILABLE',
    advice: 'conflict',
    message: `the driver firecracker: ${message}`,
  });
}

async function versionOf(program: string): Promise<string> {
  try {
    const { stdout } = await run(program, ['--version'], { timeout: versionMs, killSignal: 'SIGKILL' });
    return /v(\d+\.\d+\.\d+\S*)/.exec(stdout)?.[1] ?? stdout.trim().slice(0, 100);
  } catch (error) {
    throw unavailable(`${program} does not start: ${messageOf(error)}`);
  }
}
