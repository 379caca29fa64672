import { LineCounter, isNode, isPair, isScalar, parseDocument, type Document } from 'yaml';
import type { z } from 'zod';
import { faultOf, unknownKey, type TextFault } from './fault-text.ts';
import { pathText, type TextPath } from './path-text.ts';
import { textFaults } from './text-faults.ts';

/** How a file is read. */
export interface ParseYamlOptions<Schema extends z.ZodType> {
  /** For messages, e.g. `build.yaml`. */
  readonly file: string;
  /** What it may hold. */
  readonly schema: Schema;
  /** Code of the error for a file that is wrong. */
  readonly code: string;
  /** Longest text that is taken. */
  readonly charactersMax: number;
  /** Changes the document before it is checked; answers what is wrong, with places that `at` tells. */
  readonly prepare?: (document: Document.Parsed, at: (offset: number) => string) => readonly string[];
}

/** A file that was read, and where each thing in it stands. */
export interface ParsedYaml<Content> {
  readonly content: Content;
  /** `file:line:column` of a path in the file, or of the nearest thing above it. */
  locate(path: TextPath): string;
}

/**
 * Reads YAML that a person wrote: one document, as the schema says, without keys twice and with few aliases. Throws the given
 * code, advice `fix-input`, which names file, line and column of each fault and what is allowed there.
 */
export function parseYaml<Schema extends z.ZodType>(
  text: string,
  options: ParseYamlOptions<Schema>,
): ParsedYaml<z.output<Schema>> {
  const { file, schema, code } = options;
  if (text.length > options.charactersMax) {
    throw textFaults(code, [`${file}: has ${text.length} characters; allowed are ${options.charactersMax}`]);
  }
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const at = (offset: number): string => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    throw textFaults(
      code,
      document.errors.slice(0, 5).map((error) => `${at(error.pos[0])}: ${error.message}`),
    );
  }
  const faults = options.prepare?.(document, at) ?? [];
  if (faults.length > 0) throw textFaults(code, faults);
  const locate = (path: TextPath): string => at(offsetOf(document, path));
  const content: unknown = document.toJS({ maxAliasCount: 100 });
  const result = schema.safeParse(content);
  if (!result.success) {
    const isMissing = (path: readonly PropertyKey[]): boolean => valueAt(content, path) === undefined;
    throw textFaults(
      code,
      result.error.issues
        .flatMap((issue) => leaves(schema, issue, [], isMissing))
        .map((fault) => {
          const path = fault.path.map((part) => (typeof part === 'symbol' ? String(part) : part));
          return `${locate(path)}: ${pathText(path)} ${fault.message}`;
        }),
    );
  }
  return { content: result.data, locate };
}

function valueAt(content: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (value, part) => (value as Record<PropertyKey, unknown> | null | undefined)?.[part],
    content,
  );
}

/** The faults of an issue; those of a union are its nearest member's: the one that fails deepest in the file. */
function leaves(
  schema: z.ZodType,
  issue: z.core.$ZodIssue,
  above: readonly PropertyKey[],
  isMissing: (path: readonly PropertyKey[]) => boolean,
): readonly TextFault[] {
  const path = [...above, ...issue.path];
  if (issue.code === 'unrecognized_keys') return issue.keys.map((key) => unknownKey(schema, path, key));
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [faultOf({ ...issue, path }, isMissing)];
  const members = issue.errors.map((errors) => errors.flatMap((error) => leaves(schema, error, path, isMissing)));
  const depth = (faults: readonly TextFault[]): number =>
    Math.max(0, ...faults.map((fault) => fault.path.length)) - faults.length / 100;
  return members.sort((a, b) => depth(b) - depth(a))[0] ?? [];
}

/** Where a path starts in the text; for a key that is not there, the nearest thing above it. */
function offsetOf(document: Document.Parsed, path: TextPath): number {
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
