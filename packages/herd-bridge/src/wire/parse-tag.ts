import { fileSizeBytesMax } from './herd-texts.ts';

/** One process of a job. */
export interface WireTask {
  readonly name: string;
  readonly exe: string;
  /** One text, split by the agent. */
  readonly arguments: string;
  /** Empty: none. */
  readonly pipe: string;
  /** Known to the original agents, and looked at by none. */
  readonly authenticationToken?: string | undefined;
}

/** What stands between `<` and `>`. */
export type WireTag =
  | { readonly kind: 'job'; readonly name: string }
  | ({ readonly kind: 'task' } & WireTask)
  /** Followed by `sizeBytes` bytes and its end. */
  | { readonly kind: 'input'; readonly name: string; readonly sizeBytes: number }
  /** With a size: followed by as many bytes and its end. Without: a client wants it. */
  | { readonly kind: 'output'; readonly name: string; readonly sizeBytes: number | undefined }
  | { readonly kind: 'job-end' }
  | { readonly kind: 'input-end' }
  | { readonly kind: 'output-end' }
  /** Another name, or one of these written as no genuine program does. */
  | { readonly kind: 'unknown'; readonly tag: string };

const ends: Readonly<Record<string, 'job-end' | 'input-end' | 'output-end'>> = {
  '/Job': 'job-end',
  '/Input': 'input-end',
  '/Output': 'output-end',
};

/** Reads the text between `<` and `>`. The order of attributes and the space between them are not looked at. */
export function parseTag(text: string): WireTag {
  const unknown: WireTag = { kind: 'unknown', tag: text };
  const end = Object.hasOwn(ends, text) ? ends[text] : undefined;
  if (end !== undefined) return { kind: end };
  const name = /^[A-Za-z]+/.exec(text)?.[0];
  if (name === undefined) return unknown;
  const attributes = new Map<string, string>();
  const pattern = /\s+([A-Za-z]+)="([^"]*)"/y;
  pattern.lastIndex = name.length;
  let at = name.length;
  for (let match = pattern.exec(text); match !== null; match = pattern.exec(text)) {
    if (attributes.has(match[1]!)) return unknown;
    attributes.set(match[1]!, match[2]!);
    at = pattern.lastIndex;
  }
  const tail = text.slice(at).trim();
  if (tail !== '' && tail !== '/') return unknown;
  return tagFrom(name, attributes, tail === '/') ?? unknown;
}

function tagFrom(name: string, attributes: ReadonlyMap<string, string>, isEmpty: boolean): WireTag | undefined {
  const named = attributes.get('Name');
  if (named === undefined) return undefined;
  const sizeText = attributes.get('Size');
  if (name === 'Task') {
    const exe = attributes.get('Exe');
    if (exe === undefined || !isEmpty) return undefined;
    return {
      kind: 'task',
      name: named,
      exe,
      arguments: attributes.get('Arguments') ?? '',
      pipe: attributes.get('Pipe') ?? '',
      authenticationToken: attributes.get('AuthenticationToken'),
    };
  }
  if (name === 'Job') return isEmpty ? undefined : { kind: 'job', name: named };
  if (name === 'Output' && sizeText === undefined) {
    return isEmpty ? { kind: 'output', name: named, sizeBytes: undefined } : undefined;
  }
  const sizeBytes = sizeFrom(sizeText);
  if (sizeBytes === undefined || isEmpty) return undefined;
  if (name === 'Input') return { kind: 'input', name: named, sizeBytes };
  return name === 'Output' ? { kind: 'output', name: named, sizeBytes } : undefined;
}

/** A size as `Int32.Parse` of the original programs takes it, without what is below zero. */
function sizeFrom(text: string | undefined): number | undefined {
  if (text === undefined || !/^\s*\+?\d{1,32}\s*$/.test(text)) return undefined;
  const size = Number(text);
  return size <= fileSizeBytesMax ? size : undefined;
}
