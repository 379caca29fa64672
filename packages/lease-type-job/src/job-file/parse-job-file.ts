import { DroverError } from '@drover/lease-kit';
import { LineCounter, isNode, isPair, isScalar, parseDocument, visit, type Document } from 'yaml';
import type { z } from 'zod';
import { jobBounds } from '../bounds.ts';
import { pathText, type JobPath } from '../check-job.ts';
import { faultOf, unknownKey, type JobFileFault } from './fault-text.ts';
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
  if (text.length > jobBounds.jobFileSizeBytesMax) {
    throw invalid([`${options.file}: has ${text.length} characters; allowed are ${jobBounds.jobFileSizeBytesMax}`]);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${options.file}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    throw invalid(document.errors.slice(0, 5).map((error) => `${at(error.pos[0])}: ${error.message}`));
  }
  const faults = substitute(document, options, at);
  if (faults.length > 0) throw invalid(faults);
  const locate = (path: JobPath): string => at(offsetOf(document, path));
  const content: unknown = document.toJS({ maxAliasCount: 100 });
  const result = jobFileSchema.safeParse(content);
  if (!result.success) {
    const isMissing = (path: readonly PropertyKey[]): boolean => valueAt(content, path) === undefined;
    throw invalid(
      result.error.issues
        .flatMap((issue) => leaves(issue, [], isMissing))
        .map((fault) => {
          const path = fault.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
          return `${locate(path)}: ${pathText(path)} ${fault.message}`;
        }),
    );
  }
  return { job: result.data, locate };
}

function invalid(faults: readonly string[]): DroverError {
  const shown = faults.slice(0, 10);
  if (faults.length > shown.length) shown.push(`and ${faults.length - shown.length} more`);
  return new DroverError({
    code: 'JOB_FILE_INVALID',
    advice: 'fix-input',
    message: shown.join('\n'),
    details: { faults: faults.length },
  });
}

function valueAt(content: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, part) => (value as Record<PropertyKey, unknown> | null | undefined)?.[part],
    content,
  );
}

/** The faults of an issue; those of a union are its nearest member's: the one that fails deepest in the file. */
function leaves(
  issue: z.core.$ZodIssue,
  above: readonly PropertyKey[],
  isMissing: (path: readonly PropertyKey[]) => boolean,
): readonly JobFileFault[] {
  const path = [...above, ...issue.path];
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(path, key));
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [faultOf({ ...issue, path }, isMissing)];
  const members = issue.errors.map((errors) => errors.flatMap((error) => leaves(error, path, isMissing)));
  const depth = (faults: readonly JobFileFault[]): number =>
    Math.max(0, ...faults.map((fault) => fault.path.length)) - faults.length / 100;
  return members.sort((a, b) => depth(b) - depth(a))[0] ?? [];
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

/** Where a path starts in the text; for a key that is not there, the nearest thing above it. */
function offsetOf(document: Document.Parsed, path: JobPath): number {
  for (let length = path.length; length >= 0; length--) {
    const part = path.slice(0, length);
    const parent: unknown = length === 0 ? undefined : document.getIn(part.slice(0, -1), true);
    if (isNode(parent) && 'items' in parent) {
      const key = part.at(-1);
      const pair = (parent.items as unknown[]).find(
        (item) => isPair(item) && isScalar(item.key) && item.key.value === key,
      );
      if (isPair(pair) && isScalar(pair.key) && pair.key.range) return pair.key.range[0];
    }
    const node: unknown = document.getIn(part, true);
    if (isNode(node) && node.range) return node.range[0];
  }
  return 0;
}
