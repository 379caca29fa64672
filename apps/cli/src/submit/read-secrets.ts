import { DroverError, messageOf } from '@drover/lease-kit';
import type { ParsedJobFile } from '@drover/lease-type-job';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';

/** What reading the secrets of a job file needs. */
export interface ReadSecretsDeps {
  /** The folder of the job file. */
  readonly jobDir: string;
  readonly env: Readonly<Record<string, string | undefined>>;
}

/**
 * The values of a job file's secrets, from the variables and files that it names. One line break at the end of a file is left
 * out. Throws SECRET_UNREADABLE with the place in the job file; never with a value.
 */
export async function readSecrets(
  { job, locate }: ParsedJobFile,
  { jobDir, env }: ReadSecretsDeps,
): Promise<Record<string, Uint8Array<ArrayBuffer>>> {
  const secrets: Record<string, Uint8Array<ArrayBuffer>> = {};
  for (const [name, origin] of Object.entries(job.secrets ?? {})) {
    const unreadable = (why: string): DroverError =>
      new DroverError({
        code: 'SECRET_UNREADABLE',
        advice: 'fix-input',
        message: `${locate(['secrets', name])}: secret ${name}: ${why}`,
      });
    if ('env' in origin) {
      const value = env[origin.env];
      if (value === undefined || value === '') throw unreadable(`the variable ${origin.env} is not set`);
      secrets[name] = new TextEncoder().encode(value);
      continue;
    }
    const bytes = await readFile(resolve(jobDir, origin.file)).catch((error: unknown) => {
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      throw unreadable(isMissing ? `there is no file ${origin.file}` : messageOf(error));
    });
    secrets[name] = new Uint8Array(bytes.subarray(0, bytes.length - lineBreakAtEnd(bytes)));
  }
  return secrets;
}

function lineBreakAtEnd(bytes: Buffer): number {
  if (bytes.at(-1) !== 10) return 0;
  return bytes.at(-2) === 13 ? 2 : 1;
}
