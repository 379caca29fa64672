import type { JobStatus } from '@drover/control-api';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { FleetClient } from '../fleet-client.ts';
import { followJob } from '../follow-job.ts';
import { createLiveDisplay } from '../output/live-display.ts';

/** The example of this checkout; undefined where there is no checkout around the command. */
export function exampleFile(): string | undefined {
  const file = join(import.meta.dirname, '../../../../examples/check-reconciler.yaml');
  return existsSync(file) ? file : undefined;
}

/** Runs the example with its progress and its logs. */
export async function runExample(
  client: FleetClient,
  file: string,
  stdout: NodeJS.WriteStream,
  signal: AbortSignal,
): Promise<JobStatus> {
  const note = (text: string): void => void stdout.write(`  ${text}\n`);
  const { submitJobFile } = await import('../submit/submit-job-file.ts');
  const jobId = await submitJobFile(client, { file, vars: {}, note, env: {} }, signal);
  const display = createLiveDisplay(stdout);
  return followJob(client, { jobId, display, logs: true, columns: () => stdout.columns ?? 120 }, signal);
}
