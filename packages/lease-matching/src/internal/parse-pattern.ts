import { patternInvalid } from './pattern-invalid.ts';

/** Code points from, to (inclusive); `negated` stands for all others. */
export interface CharacterSet {
  readonly ranges: readonly (readonly [number, number])[];
  readonly negated: boolean;
}

/** The syntax tree of a pattern. */
export type PatternNode =
  | { readonly kind: 'set'; readonly set: CharacterSet }
  | { readonly kind: 'start' | 'end' }
  | { readonly kind: 'sequence' | 'choice'; readonly nodes: readonly PatternNode[] }
  /** `max` absent: any number of times. */
  | { readonly kind: 'repeat'; readonly node: PatternNode; readonly min: number; readonly max?: number };

const groupDepthMax = 16;
const repetitionsMax = 100;
const codePointMax = 0x10ffff;

const classes: Readonly<Record<string, readonly (readonly [number, number])[]>> = {
  d: [[0x30, 0x39]],
  w: [
    [0x30, 0x39],
    [0x41, 0x5a],
    [0x5f, 0x5f],
    [0x61, 0x7a],
  ],
  s: [
    [0x09, 0x0d],
    [0x20, 0x20],
    [0xa0, 0xa0],
  ],
};

/** Reads the subset of regular expressions that `linearPattern` documents. Throws `PATTERN_INVALID`. */
export function parsePattern(source: string): PatternNode {
  const characters = Array.from(source);
  let at = 0;
  let depth = 0;

  const fail = (problem: string, allowed: string): never => {
    throw patternInvalid(source, problem, allowed);
  };
  const peek = (): string | undefined => characters[at];

  const parseChoice = (): PatternNode => {
    const nodes = [parseSequence()];
    while (peek() === '|') {
      at++;
      nodes.push(parseSequence());
    }
    return nodes.length === 1 ? (nodes[0] as PatternNode) : { kind: 'choice', nodes };
  };

  const parseSequence = (): PatternNode => {
    const nodes: PatternNode[] = [];
    for (let next = peek(); next !== undefined && next !== '|' && next !== ')'; next = peek()) {
      nodes.push(parseRepeat());
    }
    return { kind: 'sequence', nodes };
  };

  const parseRepeat = (): PatternNode => {
    const node = parseAtom();
    const times = parseQuantifier();
    if (times === undefined) return node;
    if (node.kind === 'start' || node.kind === 'end') fail('"^" and "$" can not be repeated', 'one of them');
    if (parseQuantifier() !== undefined) fail('two quantifiers in a row', 'one of * + ? {n} {n,} {n,m}');
    return { kind: 'repeat', node, ...times };
  };

  const parseQuantifier = (): { min: number; max?: number } | undefined => {
    const character = peek();
    if (character === '*' || character === '+' || character === '?') {
      at++;
      if (character === '?') return { min: 0, max: 1 };
      return { min: character === '*' ? 0 : 1 };
    }
    if (character !== '{') return undefined;
    const [whole, first, comma, second] =
      /^\{(\d{1,3})(,?)(\d{0,3})\}/.exec(characters.slice(at, at + 9).join('')) ??
      fail('"{" starts no repetition', '{n}, {n,} or {n,m}, and \\{ for the character');
    at += whole.length;
    const min = Number(first);
    const max = second === '' ? (comma === '' ? min : undefined) : Number(second);
    if (min > repetitionsMax || (max ?? 0) > repetitionsMax || (max ?? min) < min || (comma === '' && second !== '')) {
      fail(`the repetition ${whole}`, `n and m from 0 to ${repetitionsMax}, n not more than m`);
    }
    return max === undefined ? { min } : { min, max };
  };

  const parseAtom = (): PatternNode => {
    const character = characters[at++] as string;
    switch (character) {
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '.':
        return { kind: 'set', set: { ranges: [[0, codePointMax]], negated: false } };
      case '[':
        return { kind: 'set', set: parseSet() };
      case '(':
        return parseGroup();
      case '*':
      case '+':
      case '?':
      case '{':
        return fail(`nothing to repeat in front of "${character}"`, `\\${character} for the character`);
      case '\\':
        return { kind: 'set', set: parseEscape() };
      default:
        return { kind: 'set', set: only(character) };
    }
  };

  const parseGroup = (): PatternNode => {
    if (peek() === '?') {
      if (characters[at + 1] !== ':') fail('"(?" starts a look-around or a flag', '(…) and (?:…)');
      at += 2;
    }
    if (++depth > groupDepthMax) fail('groups are nested too deep', `at most ${groupDepthMax} levels`);
    const inner = parseChoice();
    if (peek() !== ')') fail('a group has no end', 'a closing ")", and \\( for the character');
    at++;
    depth--;
    return inner;
  };

  const parseEscape = (): CharacterSet => {
    const character = characters[at++] ?? fail('a backslash ends the pattern', '\\\\ for the character');
    const ranges = classes[character.toLowerCase()];
    if (ranges !== undefined) return { ranges, negated: character !== character.toLowerCase() };
    if (/[A-Za-z0-9]/.test(character)) {
      fail(`the escape "\\${character}"`, '\\d \\D \\w \\W \\s \\S and a backslash before punctuation');
    }
    return only(character);
  };

  const parseSet = (): CharacterSet => {
    const negated = peek() === '^';
    if (negated) at++;
    const ranges: (readonly [number, number])[] = [];
    while (peek() !== ']') {
      const from = parseSetMember();
      const [start] = from;
      if (peek() === '-' && characters[at + 1] !== ']' && from.length === 1 && start !== undefined) {
        at++;
        const [end, ...more] = parseSetMember();
        if (end === undefined || more.length > 0 || end[0] !== end[1] || start[0] !== start[1] || end[0] < start[0]) {
          return fail('a range in [ ] is upside down or ends in a class', 'ranges such as a-z');
        }
        ranges.push([start[0], end[0]]);
      } else {
        ranges.push(...from);
      }
    }
    at++;
    if (ranges.length === 0) fail('an empty [ ]', 'at least one character between [ and ]');
    return { ranges, negated };
  };

  const parseSetMember = (): CharacterSet['ranges'] => {
    const character = characters[at++] ?? fail('a "[" has no end', 'a closing "]", and \\[ for the character');
    if (character !== '\\') return only(character).ranges;
    const { ranges, negated } = parseEscape();
    if (negated) fail('\\D, \\W and \\S inside [ ]', '\\d, \\w and \\s there');
    return ranges;
  };

  const root = parseChoice();
  if (peek() === ')') fail('a ")" closes nothing', '\\) for the character');
  return root;
}

function only(character: string): CharacterSet {
  const code = character.codePointAt(0) as number;
  return { ranges: [[code, code]], negated: false };
}
