import type { Digest } from '@drover/content-store';
import { wireCutShort, wireInvalid, wireTooLarge, type WireReader, type WireTask } from '../wire/index.ts';
import { cachedPath } from './cached-path.ts';
import { receiveInput, type InputPlace } from './receive-input.ts';

/** Bounds of one job. */
export interface JobLimits {
  readonly tasksMax: number;
  readonly filesMax: number;
  /** Of all names and arguments together. */
  readonly textBytesMax: number;
  /** Of all inputs together. */
  readonly inputsBytesMax: number;
}

/** A file that a client wants. */
export interface WantedOutput {
  /** As the client calls it. */
  readonly name: string;
  /** In the job's folder; absent: no file has such a name. */
  readonly path: string | undefined;
}

/** A job as it came. */
export interface ReceivedJob {
  readonly name: string;
  readonly tasks: readonly WireTask[];
  /** By path in the job's folder. */
  readonly inputs: ReadonlyMap<string, Digest>;
  /** In the order in which they were asked for. */
  readonly outputs: readonly WantedOutput[];
  /** Names that were refused, for the log: at most 16. */
  readonly refused: readonly string[];
}

/**
 * Reads a job up to `</Job>`; inputs go to the content store as they come. `begun` is told the job's name before its body is read.
 * Throws `HERD_WIRE_*`, what broke the connection, and what {@link receiveInput} throws.
 */
export async function receiveJob(
  reader: WireReader,
  limits: JobLimits,
  place: InputPlace,
  begun: (name: string) => void,
): Promise<ReceivedJob> {
  const header = await reader.nextJob();
  if (header === undefined) throw wireCutShort('what stands before a job');
  begun(header.name);
  const tasks: WireTask[] = [];
  const inputs = new Map<string, Digest>();
  const outputs: WantedOutput[] = [];
  const refused: string[] = [];
  const paths = new FilePaths();
  const refuse = (name: string): void => {
    if (refused.length < 16) refused.push(name.slice(0, 256));
  };
  let inputsBytes = 0;
  let files = 0;
  let textBytes = 0;
  const countText = (count: number): void => {
    textBytes += count;
    if (textBytes > limits.textBytesMax) throw wireTooLarge('the text of the job', limits.textBytesMax);
  };
  const countFile = (name: string): void => {
    files += 1;
    countText(name.length);
    if (files > limits.filesMax) throw wireTooLarge('the list of files', limits.filesMax, 'files');
  };
  for (;;) {
    const tag = await reader.nextTag();
    if (tag === undefined) throw wireCutShort('a job');
    switch (tag.kind) {
      case 'task':
        if (tasks.length === limits.tasksMax) throw wireTooLarge('the list of tasks', limits.tasksMax, 'tasks');
        countText(tag.name.length + tag.exe.length + tag.arguments.length + tag.pipe.length);
        tasks.push(tag);
        break;
      case 'input': {
        countFile(tag.name);
        inputsBytes += tag.sizeBytes;
        if (inputsBytes > limits.inputsBytesMax) throw wireTooLarge('the content of the inputs', limits.inputsBytesMax);
        const path = cachedPath(tag.name);
        // Thrown away, as the original does with a file that it cannot make.
        if (path === undefined || !paths.add(path)) refuse(tag.name);
        else inputs.set(path, await receiveInput(reader.content(), tag.sizeBytes, place));
        break;
      }
      case 'output': {
        if (tag.sizeBytes !== undefined) throw wireInvalid('a client sends the content of an output');
        countFile(tag.name);
        const path = cachedPath(tag.name);
        if (path === undefined) refuse(tag.name);
        outputs.push({ name: tag.name, path });
        break;
      }
      case 'job-end':
        return { name: header.name, tasks, inputs, outputs, refused };
      case 'unknown':
        throw wireInvalid(`<${tag.tag.slice(0, 128)}> is nothing that stands in a job`);
      default:
        throw wireInvalid(`a tag of kind ${tag.kind} is nothing that stands here in a job`);
    }
  }
}

/** Paths of files, of which none is another one's folder: who comes first stays. */
class FilePaths {
  readonly #files = new Set<string>();
  readonly #folders = new Set<string>();

  /** False if a file stands where this one needs a folder, or the other way round. */
  add(path: string): boolean {
    const folders: string[] = [];
    for (let end = path.indexOf('/'); end >= 0; end = path.indexOf('/', end + 1)) folders.push(path.slice(0, end));
    if (this.#folders.has(path) || folders.some((folder) => this.#files.has(folder))) return false;
    this.#files.add(path);
    for (const folder of folders) this.#folders.add(folder);
    return true;
  }
}
