import { z } from 'zod';

/** One fault of a file: where, and what is allowed there. */
export interface TextFault {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

const kinds: Readonly<Record<string, string>> = {
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map of keys',
  record: 'a map of keys',
};

/** An issue of the schema in the words of people. `isMissing`: nothing stands at a path. */
export function faultOf(issue: z.core.$ZodIssue, isMissing: (path: readonly PropertyKey[]) => boolean): TextFault {
  return { path: issue.path, message: textOf(issue, isMissing(issue.path)) };
}

/** A key that the schema does not know, with those that it knows in that place. */
export function unknownKey(schema: z.ZodType, path: readonly PropertyKey[], key: string): TextFault {
  const allowed = allowedKeys(schema, path);
  const text = allowed.length === 0 ? '' : `; allowed are ${allowed.join(', ')}`;
  return { path: [...path, key], message: `is not known here${text}` };
}

function textOf(issue: z.core.$ZodIssue, isMissing: boolean): string {
  switch (issue.code) {
    case 'invalid_type': {
      const kind = kinds[issue.expected] ?? issue.expected;
      return isMissing ? `is missing; it is ${kind}` : `is of the wrong kind; allowed is ${kind}`;
    }
    case 'too_small':
      return issue.origin === 'number' || issue.origin === 'int'
        ? `is too small; allowed is ${issue.minimum} or more`
        : `is too short; allowed is a length of ${issue.minimum} or more`;
    case 'too_big':
      return issue.origin === 'number' || issue.origin === 'int'
        ? `is too big; allowed is ${issue.maximum} or less`
        : `is too long; allowed is a length of ${issue.maximum} or less`;
    default:
      return issue.message;
  }
}

interface SchemaNode {
  readonly properties?: Readonly<Record<string, SchemaNode>>;
  readonly additionalProperties?: SchemaNode | boolean;
  readonly items?: SchemaNode;
  readonly anyOf?: readonly SchemaNode[];
}

/** The keys that may stand at a path, in the order of the schema; empty where any may. */
function allowedKeys(schema: z.ZodType, path: readonly PropertyKey[]): readonly string[] {
  let nodes: readonly SchemaNode[] = [z.toJSONSchema(schema, { io: 'input' }) as SchemaNode];
  for (const part of path) {
    nodes = nodes.flatMap((node) => node.anyOf ?? [node]).flatMap((node) => innerOf(node, part));
  }
  const keys = nodes.flatMap((node) => node.anyOf ?? [node]).flatMap(({ properties = {} }) => Object.keys(properties));
  return [...new Set(keys)];
}

function innerOf(node: SchemaNode, part: PropertyKey): readonly SchemaNode[] {
  if (typeof part === 'number') return node.items ? [node.items] : [];
  const own = node.properties?.[String(part)];
  if (own) return [own];
  return typeof node.additionalProperties === 'object' ? [node.additionalProperties] : [];
}
