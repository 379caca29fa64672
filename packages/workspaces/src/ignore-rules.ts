/** What lines of patterns say about paths. A path is relative to where the lines stand, with `/`, without one at its ends. */
export interface IgnoreRules {
  /** Undefined when no line matches, so that others may decide. */
  verdict(path: string, isFolder: boolean): 'ignored' | 'kept' | undefined;
}

interface IgnoreRule {
  readonly pattern: RegExp;
  readonly foldersOnly: boolean;
  readonly negated: boolean;
}

const rulesMax = 10_000;

/**
 * Reads lines in the format of gitignore(5): `#` comments, `!` takes back, a `/` at the end means folders only, one
 * before that anchors to the folder of the file, `*`, `?`, `[…]` and `**`. The last line that matches decides. Lines
 * beyond 10,000 are not read.
 */
export function parseIgnoreRules(text: string): IgnoreRules {
  const rules = text
    .split(/\r?\n/, rulesMax)
    .map(parseRule)
    .filter((rule) => rule !== undefined);
  return {
    verdict(path, isFolder) {
      const last = rules.findLast((rule) => (isFolder || !rule.foldersOnly) && rule.pattern.test(path));
      return last && (last.negated ? 'kept' : 'ignored');
    },
  };
}

function parseRule(line: string): IgnoreRule | undefined {
  let text = line.replace(/(?<!\\) +$/, '');
  if (text === '' || text.startsWith('#')) return undefined;
  const negated = text.startsWith('!');
  if (negated) text = text.slice(1);
  const foldersOnly = text.endsWith('/');
  if (foldersOnly) text = text.slice(0, -1);
  const anchored = text.includes('/');
  if (text.startsWith('/')) text = text.slice(1);
  if (text === '') return undefined;
  try {
    return { pattern: new RegExp(`^${anchored ? '' : '(?:.*/)?'}${globSource(text)}$`, 's'), foldersOnly, negated };
  } catch {
    // A range that is none, such as [z-a]: git matches nothing with it either.
    return undefined;
  }
}

function globSource(glob: string): string {
  let source = '';
  for (let at = 0; at < glob.length;) {
    const rest = glob.slice(at);
    const token = /^(?:\*\*\/(?:\*\*\/)*|\/\*\*$|\*+|\?|\[[!^]?\]?[^\]]*\]|\\.|.)/s.exec(rest)?.[0] ?? rest;
    at += token.length;
    if (token.startsWith('**/') && (at === token.length || glob[at - token.length - 1] === '/')) source += '(?:.*/)?';
    else if (token === '/**') source += '/.+';
    else if (token.startsWith('*')) source += token.endsWith('/') ? '[^/]*/' : '[^/]*';
    else if (token === '?') source += '[^/]';
    else if (token.startsWith('[') && token.length > 1)
      source += `(?!/)${token.replace(/^\[!/, '[^').replaceAll('\\', '\\\\')}`;
    else
      source += (token.startsWith('\\') && token.length > 1 ? token.slice(1) : token).replace(
        /[.*+?^${}()|[\]\\/]/g,
        '\\$&',
      );
  }
  return source;
}
