import { create, fromJson, type JsonValue } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { JobSubmissionSchema } from '@drover/control-api';
import { DroverError, messageOf } from '@drover/lease-kit';
import { loadLeaseType, type LoadedLeaseType } from '@drover/lease-type-loader';
import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { callOptions, type FleetClient } from '../fleet-client.ts';

/** A message of some lease type to submit. */
export interface SubmitMessageOptions {
  /** The message in the JSON mapping of protobuf; `-` means standard input. */
  readonly file: string;
  /** For people; absent means the name of the lease type. */
  readonly name?: string;
  readonly priority?: number;
}

/** The lease type of a package that is installed beside the command line or at the working directory. */
export function leaseTypeOfPackage(packageName: string): Promise<LoadedLeaseType> {
  return loadLeaseType({ packageName, from: [import.meta.dirname, process.cwd()] });
}

/** Reads a message and submits it as a job; answers the job's id. */
export async function submitMessage(
  client: FleetClient,
  leaseType: LoadedLeaseType,
  options: SubmitMessageOptions,
  signal: AbortSignal,
): Promise<string> {
  const { submission: schema, type } = leaseType;
  const json = parseJson(await readText(options.file), options.file);
  const submission = create(JobSubmissionSchema, {
    // Made here, so that a call that is tried again after a lost answer does not make a second job.
    requestId: randomUUID(),
    name: options.name ?? type.name,
    payload: anyPack(schema, messageFrom(schema, json, options.file)),
    priority: options.priority ?? 0,
  });
  const { jobIds } = await client.jobs.submitJobs({ jobs: [submission] }, callOptions(signal));
  return jobIds[0]!;
}

async function readText(file: string): Promise<string> {
  try {
    return file === '-' ? await text(process.stdin) : await readFile(file, 'utf8');
  } catch (error) {
    const missing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    throw invalid('MESSAGE_UNREADABLE', `${file}: ${missing ? 'there is no such file' : messageOf(error)}`, error);
  }
}

function parseJson(json: string, file: string): JsonValue {
  try {
    return JSON.parse(json) as JsonValue;
  } catch (error) {
    throw invalid('MESSAGE_INVALID', `${file}: is no JSON: ${messageOf(error)}`, error);
  }
}

function messageFrom(schema: LoadedLeaseType['submission'], json: JsonValue, file: string) {
  try {
    return fromJson(schema, json);
  } catch (error) {
    const fields = schema.fields.map(({ jsonName }) => jsonName).join(', ');
    const remark = `${schema.typeName} has the fields ${fields === '' ? '(none)' : fields}`;
    throw invalid('MESSAGE_INVALID', `${file}: ${messageOf(error)}; ${remark}`, error);
  }
}

function invalid(code: string, message: string, cause: unknown): DroverError {
  return new DroverError({ code, advice: 'fix-input', message, cause });
}
