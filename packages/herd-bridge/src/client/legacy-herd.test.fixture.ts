import { createHash } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { create } from '@bufbuild/protobuf';
import type { HerdJobCall, HerdTask, LocalFile, PipeKind, RunJobResponse } from '@drover/herd-protocol';
import { BlobDigestSchema } from '@drover/lease-protocol';

/** Writes a file, as a client has it that has looked at its bytes. */
export async function localFile(folder: string, path: string, content: string, executable = false): Promise<LocalFile> {
  const bytes = Buffer.from(content, 'latin1');
  const source = join(folder, path.replaceAll('/', '_'));
  await writeFile(source, bytes);
  const hash = createHash('sha256').update(bytes).digest('hex');
  return { path, source, executable, digest: create(BlobDigestSchema, { hash, sizeBytes: BigInt(bytes.byteLength) }) };
}

/** What a response says, short: `ended one SUCCEEDED`. */
export function shortly({ message }: RunJobResponse): string {
  switch (message.case) {
    case 'credits':
      return `credits ${message.value.tasks}`;
    case 'started':
      return `started ${message.value.task}`;
    case 'item': {
      const { task, item } = message.value;
      const value = item.case === 'evaluation' ? `${item.value.x},${item.value.y}` : String(item.value);
      return `${task} ${item.case} ${value}`;
    }
    case 'ended': {
      const { task, end, errorCode } = message.value;
      return `ended ${task} ${['', 'SUCCEEDED', 'FAILED', 'CANCELLED'][end]} ${errorCode}`.trimEnd();
    }
    case 'output':
      return `output ${message.value.file?.path} ${message.value.file?.digest?.sizeBytes}`;
    case 'missing':
      return `missing ${message.value.path}`;
    case 'jobEnded':
      return `job ${['', 'COMPLETED', 'CANCELLED', 'GIVEN_UP'][message.value.end]} ${message.value.errorCode}`.trimEnd();
    default:
      return message.case ?? 'nothing';
  }
}

/** A task, of which only what is given differs from nothing. */
export type TaskInit = Partial<Omit<HerdTask, '$typeName' | 'pipe'>> & {
  readonly name: string;
  readonly pipe?: { readonly name: string; readonly kind?: PipeKind };
};

/** Adds tasks as credits come, finishes when there are none left, and collects what is said; `onResponse` may interfere. */
export async function driveJob(
  call: HerdJobCall,
  tasks: readonly TaskInit[],
  onResponse: (response: RunJobResponse) => void = () => undefined,
): Promise<readonly string[]> {
  const left = [...tasks];
  const said: string[] = [];
  for await (const response of call.responses) {
    said.push(shortly(response));
    if (response.message.case === 'credits' && left.length > 0) {
      call.add({ tasks: left.splice(0, response.message.value.tasks) });
      if (left.length === 0) call.finish();
    }
    onResponse(response);
  }
  return said;
}
