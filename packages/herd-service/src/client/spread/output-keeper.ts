import { chmod } from 'node:fs/promises';
import { extname, join } from 'node:path';
import type { HerdAgentLink, OutputFound } from '@drover/herd-protocol';
import { DroverError, isDroverError, messageOf } from '@drover/lease-kit';
import type { HerdJob, JobOutput } from '../job-file/herd-job.ts';
import type { MissingOutput, SavedOutput } from './herd-job-result.ts';

/** What an agent said of one output. */
export interface FoundOutput {
  readonly output: JobOutput;
  readonly found: OutputFound;
  /** Absent: of the job. */
  readonly task?: string | undefined;
}

/** Brings outputs here and remembers which came, from where, and which did not. */
export class OutputKeeper {
  readonly missing: MissingOutput[] = [];
  readonly #folder: string;
  readonly #saved = new Map<string, SavedOutput>();
  /** Of files that are there or on their way: digest and whose it is. */
  readonly #files = new Map<string, { readonly key: string; readonly task: string | undefined }>();
  /** Of the job's outputs: what agents said of those that they have not got. */
  readonly #notOnAgent = new Map<string, { code: string; message: string }>();

  constructor(folder: string) {
    this.#folder = folder;
  }

  /**
   * Brings one here. Answers undefined if the same content is here already. Throws what the link throws, and `OUTPUT_INVALID`
   * for one without a digest.
   */
  async save(link: HerdAgentLink, one: FoundOutput, signal: AbortSignal): Promise<SavedOutput | undefined> {
    const { output, found, task } = one;
    const { digest, executable } = found.file ?? {};
    if (digest === undefined) {
      const message = `${link.agent.name} names no digest of ${output.path}`;
      throw new DroverError({ code: 'OUTPUT_INVALID', advice: 'internal', message });
    }
    const key = `${digest.hash}/${digest.sizeBytes}`;
    const { file, isConflict, isHere } = this.#place(output.target, key, task, link.agent.name);
    if (isHere) return undefined;
    try {
      await link.receive(digest, file, signal);
      if (executable === true) await chmod(file, 0o755);
    } catch (error) {
      // Another agent may have it too.
      if (this.#files.get(file)?.key === key) this.#files.delete(file);
      throw error;
    }
    const sizeBytes = Number(digest.sizeBytes);
    const saved: SavedOutput = { path: output.path, file, sizeBytes, agent: link.agent.name, task, isConflict };
    this.#saved.set(file, saved);
    return saved;
  }

  /** What is here, in the order in which it came. */
  get saved(): SavedOutput[] {
    return [...this.#saved.values()];
  }

  /** An agent says that it has not got one; of a task's, that is final. */
  isMissing(output: JobOutput, task: string | undefined, code: string, message: string): void {
    if (task !== undefined) this.missing.push({ path: output.path, task, code, message });
    else this.#notOnAgent.set(output.path, { code, message });
  }

  /** What could not be brought here. */
  failed(output: JobOutput, task: string | undefined, error: unknown): void {
    this.isMissing(output, task, isDroverError(error) ? error.code : 'OUTPUT_NOT_SAVED', messageOf(error));
  }

  /** Outputs of the job that no agent had become missing ones. */
  close({ outputs }: HerdJob, lost: string | undefined): void {
    const here = new Set(this.saved.filter(({ task }) => task === undefined).map(({ path }) => path));
    for (const { path } of outputs) {
      if (here.has(path)) continue;
      const said = this.#notOnAgent.get(path) ?? { code: 'OUTPUT_NOT_FOUND', message: 'no agent had it' };
      const message = lost === undefined ? said.message : `${said.message}; ${lost} may have had it, and is lost`;
      this.missing.push({ path, ...said, message });
    }
  }

  /** Where content goes: the name that was asked for, or beside it with the agent's name where that has other content. */
  #place(
    target: string,
    key: string,
    task: string | undefined,
    agent: string,
  ): { file: string; isConflict: boolean; isHere: boolean } {
    const extension = extname(target);
    const stem = target.slice(0, target.length - extension.length);
    const suffix = agent.replaceAll(/[^\w.-]+/g, '_').slice(0, 64);
    for (let n = 0; ; n++) {
      const name = n === 0 ? target : `${stem}.${suffix}${n === 1 ? '' : `.${n}`}${extension}`;
      const file = join(this.#folder, name);
      const there = this.#files.get(file);
      if (there?.key === key) return { file, isConflict: n > 0, isHere: true };
      // A task that is run again brings its own anew.
      if (there !== undefined && (task === undefined || there.task !== task)) continue;
      this.#files.set(file, { key, task });
      return { file, isConflict: n > 0, isHere: false };
    }
  }
}
