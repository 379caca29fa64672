import { spawn } from 'node:child_process';
import { constants, setPriority } from 'node:os';
import { fileURLToPath } from 'node:url';
import { DroverError, type Clock } from '@drover/lease-kit';

/** What a probe found; what it did not find is absent. */
export interface ProbedFacts {
  readonly cpuVendor?: string;
  readonly physicalCores?: number;
  /** As the kernel names them, in lower case. */
  readonly cpuFeatures: readonly string[];
  readonly gpus: readonly { readonly model: string; readonly memoryBytes?: number; readonly driver?: string }[];
  readonly distribution?: string;
  readonly distributionVersion?: string;
  readonly machineVendor?: string;
  readonly machineModel?: string;
  readonly virtualization?: string;
}

/** Features that work is built for; a processor lists a hundred more that nobody asks about. */
const features: ReadonlySet<string> = new Set(
  `sse3 ssse3 sse4_1 sse4_2 popcnt aes avx avx2 fma f16c bmi1 bmi2 sha_ni vaes gfni avx512f avx512bw avx512cd avx512dq
   avx512vl avx512_vnni avx512_bf16 avx_vnni amx_tile amx_int8 amx_bf16 vmx svm neon asimd asimddp sve sve2 crc32 sha2 lse`
    .split(/\s+/)
    .filter(Boolean),
);

const outputBytesMax = 256 * 1024;
const gpusMax = 32;

/**
 * Asks the machine in a process of its own, at the lowest priority. Resolves when it has answered; rejects with
 * `FACTS_PROBE_FAILED` when it took longer than `timeoutMs`, was aborted, or ended without an answer. Either way it, and
 * every program that it called, is gone.
 */
export function probeSystem(
  { timeoutMs, program = defaultProgram }: { readonly timeoutMs: number; readonly program?: string },
  { clock }: { readonly clock: Clock },
  signal: AbortSignal,
): Promise<ProbedFacts> {
  return new Promise((resolve, reject) => {
    const failed = (why: string): void =>
      reject(new DroverError({ code: 'FACTS_PROBE_FAILED', advice: 'unavailable', message: `the probe ${why}` }));
    if (signal.aborted) return failed('was not wanted any more');
    const env = { ...process.env, LC_ALL: 'C' };
    // A group of its own, so that what it calls ends with it.
    const child = spawn(process.execPath, ['--no-warnings', program], {
      detached: true,
      env,
      stdio: ['pipe', 'pipe', 'ignore'],
    });
    const kill = (why: string): void => {
      clear();
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {
        // It has ended.
      }
      failed(why);
    };
    const timer = clock.schedule(timeoutMs, () => kill(`took longer than ${timeoutMs} ms`));
    const onAbort = (): void => kill('was not wanted any more');
    const clear = (): void => {
      timer.cancel();
      signal.removeEventListener('abort', onAbort);
      child.stdin.destroy();
      child.stdout.destroy();
      child.unref();
    };
    signal.addEventListener('abort', onAbort, { once: true });
    // It says nothing: it ends when this process does.
    child.stdin.on('error', () => undefined);
    const chunks: Buffer[] = [];
    let bytes = 0;
    child.stdout.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > outputBytesMax) return kill('said too much');
      chunks.push(chunk);
    });
    child.on('spawn', () => {
      try {
        setPriority(child.pid!, constants.priority.PRIORITY_LOW);
      } catch {
        // A sandbox may forbid it.
      }
    });
    child.on('error', (error) => {
      clear();
      failed(`could not be started: ${error.message}`);
    });
    child.stdout.on('end', () => {
      if (child.stdout.destroyed && bytes === 0) return;
      clear();
      try {
        resolve(probedFactsFrom(JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>));
      } catch {
        kill('ended without an answer');
      }
    });
  });
}

// In a checkout the program is TypeScript, in a package JavaScript, like this file.
const defaultProgram = fileURLToPath(new URL(`./probe/main.${import.meta.url.split('.').at(-1)!}`, import.meta.url));

/** What a probe printed, as far as it makes sense. */
export function probedFactsFrom(found: Readonly<Record<string, unknown>>): ProbedFacts {
  const text = (value: unknown): string | undefined => {
    const trimmed = typeof value === 'string' ? value.trim() : '';
    return trimmed === '' || trimmed === '-' || trimmed.length > 256 ? undefined : trimmed;
  };
  const count = (value: unknown): number | undefined =>
    typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;
  const known: Record<string, unknown> = {
    cpuVendor: text(found['cpuVendor']),
    physicalCores: count(found['physicalCores']),
    distribution: text(found['distribution']),
    distributionVersion: text(found['distributionVersion']),
    machineVendor: text(found['machineVendor']),
    machineModel: text(found['machineModel']),
    virtualization: text(found['virtualization'])?.toLowerCase(),
  };
  for (const key of Object.keys(known)) if (known[key] === undefined) delete known[key];
  const flags = typeof found['cpuFlags'] === 'string' ? found['cpuFlags'].toLowerCase().split(/\s+/) : [];
  const gpus = (Array.isArray(found['gpus']) ? found['gpus'] : []) as readonly Record<string, unknown>[];
  return {
    ...known,
    // The kernel's old name for it.
    cpuFeatures: [
      ...new Set(flags.map((flag) => (flag === 'pni' ? 'sse3' : flag)).filter((flag) => features.has(flag))),
    ].sort(),
    gpus: gpus.slice(0, gpusMax).flatMap((gpu) => {
      const model = text(gpu['model']) ?? text(gpu['vendor']);
      if (model === undefined) return [];
      const memoryMiB = count(gpu['memoryMiB']);
      const driver = text(gpu['driverVersion']);
      return {
        model,
        ...(memoryMiB === undefined ? {} : { memoryBytes: memoryMiB * 2 ** 20 }),
        ...(driver === undefined ? {} : { driver }),
      };
    }),
  };
}
