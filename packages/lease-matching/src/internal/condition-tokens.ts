import { conditionLengthMax } from '../condition.ts';
import { conditionInvalid } from './condition-invalid.ts';

/** One token of a condition; `at` is the offset of its first character, `end` the one behind its last. */
export interface ConditionToken {
  readonly kind: 'symbol' | 'word' | 'quoted' | 'end';
  /** A symbol or word as written, the content of a quoted string with its escapes resolved. */
  readonly text: string;
  readonly at: number;
  readonly end: number;
}

const symbols = ['&&', '||', '==', '!=', '<=', '>=', '~=', '<', '>', '!', '(', ')'];
/** What people type when they mean another symbol. */
const mistaken: Readonly<Record<string, string>> = { '=': '==', '&': '&&', '|': '||', '~': '~=' };
const wordCharacter = /[A-Za-z0-9_.+\-/:@]/;
const symbolList = symbols.join(' ');

/** True for a text that reads back as one word token. */
export function isWord(text: string): boolean {
  return /^[A-Za-z0-9_.+\-/:@]+$/.test(text);
}

/** Splits a condition into tokens, with one of kind `end` behind the last. Throws `CONDITION_INVALID`. */
export function conditionTokens(text: string): readonly ConditionToken[] {
  if (text.length > conditionLengthMax) {
    throw conditionInvalid(
      text,
      conditionLengthMax,
      `the condition has ${text.length} characters`,
      `at most ${conditionLengthMax} characters`,
    );
  }
  const tokens: ConditionToken[] = [];
  let at = 0;
  while (at < text.length) {
    const character = text.charAt(at);
    if (/\s/.test(character)) {
      at++;
      continue;
    }
    const token = symbolAt(text, at) ?? quotedAt(text, at) ?? wordAt(text, at);
    if (token === undefined) throw unexpected(text, at, character);
    tokens.push(token);
    at = token.end;
  }
  tokens.push({ kind: 'end', text: '', at: text.length, end: text.length });
  return tokens;
}

function symbolAt(text: string, at: number): ConditionToken | undefined {
  const symbol = symbols.find((candidate) => text.startsWith(candidate, at));
  return symbol === undefined ? undefined : { kind: 'symbol', text: symbol, at, end: at + symbol.length };
}

function wordAt(text: string, at: number): ConditionToken | undefined {
  let end = at;
  while (end < text.length && wordCharacter.test(text.charAt(end))) end++;
  return end === at ? undefined : { kind: 'word', text: text.slice(at, end), at, end };
}

function quotedAt(text: string, at: number): ConditionToken | undefined {
  const quote = text.charAt(at);
  if (quote !== '"' && quote !== "'") return undefined;
  let content = '';
  for (let index = at + 1; index < text.length; index++) {
    const character = text.charAt(index);
    if (character === quote) return { kind: 'quoted', text: content, at, end: index + 1 };
    const next = text.charAt(index + 1);
    // A backslash escapes quotes and itself only, so that a pattern can be written as "\d+".
    if (character === '\\' && (next === '"' || next === "'" || next === '\\')) {
      content += next;
      index++;
    } else {
      content += character;
    }
  }
  throw conditionInvalid(text, at, 'the string that starts here has no end', `a closing ${quote}`);
}

function unexpected(text: string, at: number, character: string): Error {
  const meant = mistaken[character];
  return conditionInvalid(
    text,
    at,
    `unexpected ${JSON.stringify(character)}${meant === undefined ? '' : `, did you mean "${meant}"?`}`,
    `words of A-Z a-z 0-9 _ . + - / : @, anything else in quotes, and ${symbolList}`,
  );
}
