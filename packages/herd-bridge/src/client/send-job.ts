import { DroverError, messageOf } from '@drover/lease-kit';
import { createHash } from 'node:crypto';
import { open, type FileHandle } from 'node:fs/promises';
import {
  acquireBytes,
  inputEndBytes,
  inputTagBytes,
  jobEndBytes,
  jobTagBytes,
  wantedOutputTagBytes,
} from '../wire/index.ts';

/** A file that is sent with a job. */
export interface SentInput {
  /** Its name on the wire. */
  readonly name: string;
  /** Absolute path here; absent: it has no bytes. */
  readonly source: string | undefined;
  readonly digest: { readonly hash: string; readonly sizeBytes: bigint };
}

/** A file without bytes. */
export function emptyInput(name: string): SentInput {
  return { name, source: undefined, digest: { hash: createHash('sha256').digest('hex'), sizeBytes: 0n } };
}

/** A job as it is sent. */
export interface SentJob {
  readonly name: string;
  readonly inputs: readonly SentInput[];
  /** Tags of the tasks. */
  readonly tasks: readonly Uint8Array[];
  /** Names on the wire of what shall come back. */
  readonly outputs: readonly string[];
}

/** Where a job is sent. */
export interface JobSink {
  /** Resolves when there is room for more; rejects when the connection is lost. */
  write(bytes: Uint8Array): Promise<void>;
  /** True: nothing shall run any more. */
  readonly isStopped: boolean;
}

/**
 * Sends a job. An original agent that was sent half a job waits for the rest for ever, and on some platforms dies of a closed
 * connection, so the job is brought to its end whatever happens here: tasks come last, and are left out if the job was stopped
 * meanwhile or an input is not what it was. Answers whether they were sent. Throws `HERD_INPUT_CHANGED` then, after the end of the job; and what `write` throws.
 */
export async function sendJob(job: SentJob, sink: JobSink): Promise<boolean> {
  // In a write of its own, and first: the agent looks for it in what one read brings.
  await sink.write(acquireBytes);
  await sink.write(jobTagBytes(job.name));
  let failure: DroverError | undefined;
  for (const input of job.inputs) {
    if (sink.isStopped || failure !== undefined) break;
    failure = await sendInput(input, sink);
  }
  const isComplete = !sink.isStopped && failure === undefined;
  const rest = isComplete ? [...job.tasks, ...job.outputs.map((name) => wantedOutputTagBytes(name))] : [];
  await sink.write(Buffer.concat([...rest, jobEndBytes]));
  if (failure !== undefined) throw failure;
  return isComplete;
}

const pieceSizeBytes = 256 * 1024;

/** Answers why the file was not sent as it should be. As many bytes as were announced are sent in any case. */
async function sendInput({ name, source, digest }: SentInput, sink: JobSink): Promise<DroverError | undefined> {
  if (source === undefined) {
    await sink.write(Buffer.concat([inputTagBytes(name, 0), inputEndBytes]));
    return undefined;
  }
  let file: FileHandle;
  try {
    file = await open(source, 'r');
  } catch (error) {
    return inputChanged(source, messageOf(error));
  }
  await using _ = file;
  const sizeBytes = Number(digest.sizeBytes);
  const { size } = await file.stat();
  if (size !== sizeBytes) return inputChanged(source, `it has ${size} bytes and no longer ${sizeBytes}`);
  await sink.write(inputTagBytes(name, sizeBytes));
  const hash = createHash('sha256');
  for (let sent = 0; sent < sizeBytes;) {
    const piece = Buffer.alloc(Math.min(pieceSizeBytes, sizeBytes - sent));
    // A piece that cannot be read goes out as zeros: the agent counts bytes, and the digest tells.
    const bytesRead = await file.read(piece, 0, piece.byteLength, sent).then(
      (read) => read.bytesRead,
      () => 0,
    );
    const sentPiece = bytesRead > 0 ? piece.subarray(0, bytesRead) : piece;
    hash.update(sentPiece);
    await sink.write(sentPiece);
    sent += sentPiece.byteLength;
  }
  await sink.write(inputEndBytes);
  return hash.digest('hex') === digest.hash ? undefined : inputChanged(source, 'its content is another one now');
}

function inputChanged(source: string, why: string): DroverError {
  return new DroverError({
    code: 'HERD_INPUT_CHANGED',
    advice: 'fix-input',
    message: `${source} changed while the job was sent: ${why}; nothing of the job ran`,
  });
}
