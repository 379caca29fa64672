import { create } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { JobSubmissionSchema } from '@drover/control-api';
import { DroverError, messageOf } from '@drover/lease-kit';
import { JobSchema, jobFromFile, parseJobFile } from '@drover/lease-type-job';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { callOptions, type FleetClient } from '../fleet-client.ts';
import { readSecrets } from './read-secrets.ts';
import { resolveInputOf } from './resolve-input.ts';

/** A job file to submit. */
export interface SubmitJobFileOptions {
  readonly file: string;
  readonly vars: Readonly<Record<string, string>>;
  readonly priority?: number;
  readonly note: (text: string) => void;
  /** Where secrets may come from. */
  readonly env: Readonly<Record<string, string | undefined>>;
}

/** Reads a job file, resolves its inputs and submits it; answers the job's id. */
export async function submitJobFile(
  client: FleetClient,
  options: SubmitJobFileOptions,
  signal: AbortSignal,
): Promise<string> {
  const jobDir = dirname(resolve(options.file));
  const parsed = parseJobFile(await readJobFile(options.file), {
    file: options.file,
    vars: options.vars,
    builtins: { job_dir: jobDir },
  });
  const resolver = resolveInputOf({ jobDir, content: client.content, signal, note: options.note });
  const job = await jobFromFile(parsed, resolver);
  const submission = create(JobSubmissionSchema, {
    // Made here, so that a call that is tried again after a lost answer does not make a second job.
    requestId: randomUUID(),
    name: parsed.job.name,
    payload: anyPack(JobSchema, job),
    priority: options.priority ?? parsed.job.priority ?? 0,
    secrets: await readSecrets(parsed, { jobDir, env: options.env }),
  });
  const { jobIds } = await client.jobs.submitJobs({ jobs: [submission] }, callOptions(signal));
  return jobIds[0]!;
}

async function readJobFile(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new DroverError({
      code: 'JOB_FILE_UNREADABLE',
      advice: 'fix-input',
      message: `${file}: ${code === 'ENOENT' ? 'there is no such file' : messageOf(error)}`,
      cause: error,
    });
  }
}
