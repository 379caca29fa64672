import { parseYaml, type ParsedYaml } from '@drover/job-text';
import { isScalar, visit, type Document } from 'yaml';
import { jobBounds } from '../bounds.ts';
import type { JobPath } from '../check-job.ts';
import { jobFileSchema, type JobFile } from './job-file-schema.ts';

/** Where a job file came from and what its variables are. */
export interface ParseJobFileOptions {
  /** For messages, e.g. `build.yaml`. */
  readonly file: string;
  /** Values that replace those of the file's `vars`; an unknown name is an error. */
  readonly vars?: Readonly<Record<string, string>>;
  /** Values that every job file may use besides its own, e.g. `job_dir`. */
  readonly builtins?: Readonly<Record<string, string>>;
}

/** A job file that was read, and where each thing in it stands. */
export interface ParsedJobFile {
  readonly job: JobFile;
  /** `file:line:column` of a path in the file, or of the nearest thing above it. */
  locate(path: JobPath): string;
}

/**
 * Reads a job file: YAML, one document, as `jobFileSchema` says. Throws JOB_FILE_INVALID, advice `fix-input`, which names
 * file, line and column of each fault and what is allowed there.
 */
export function parseJobFile(text: string, options: ParseJobFileOptions): ParsedJobFile {
  const { content, locate }: ParsedYaml<JobFile> = parseYaml(text, {
    file: options.file,
    schema: jobFileSchema,
    code: 'JOB_FILE_INVALID',
    charactersMax: jobBounds.jobFileSizeBytesMax,
    prepare: (document, at) => substitute(document, options, at),
  });
  return { job: content, locate };
}

/** Puts values in place of `${{ name }}` in every string value; answers what it did not know. */
function substitute(
  document: Document.Parsed,
  options: ParseJobFileOptions,
  at: (offset: number) => string,
): readonly string[] {
  const faults: string[] = [];
  const declared = document.toJS({ maxAliasCount: 100 }) as { vars?: Record<string, unknown> } | null;
  const own: Record<string, string> = {};
  for (const [key, value] of Object.entries(declared?.vars ?? {})) if (typeof value === 'string') own[key] = value;
  for (const key of Object.keys(options.vars ?? {})) {
    if (key in own) continue;
    const known = Object.keys(own).join(', ') || 'none';
    faults.push(`${options.file}: there is no variable ${JSON.stringify(key)}; the file's variables: ${known}`);
  }
  const values: Record<string, string> = { ...options.builtins, ...own, ...options.vars };
  // A variable's value may use the built-in ones, not other variables: no circles, no order.
  const replace = (text: string, known: Readonly<Record<string, string>>, place: string): string =>
    text.replace(/\$\{\{\s*([^}]*?)\s*\}\}/g, (whole, key: string) => {
      const value = Object.hasOwn(known, key) ? known[key] : undefined;
      if (value !== undefined) return value;
      faults.push(
        `${place}: there is no variable ${JSON.stringify(key)}; known: ${Object.keys(known).join(', ') || 'none'}`,
      );
      return whole;
    });
  for (const key of Object.keys(own)) values[key] = replace(values[key] ?? '', options.builtins ?? {}, options.file);
  visit(document, {
    Scalar(key, node) {
      if (key === 'key' || typeof node.value !== 'string' || !node.value.includes('${{')) return;
      node.value = replace(node.value, values, at(node.range?.[0] ?? 0));
    },
    Pair(_, pair) {
      return isScalar(pair.key) && pair.key.value === 'vars' ? visit.SKIP : undefined;
    },
  });
  return faults;
}
