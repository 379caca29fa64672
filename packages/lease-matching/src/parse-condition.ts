import {
  conditionDepthMax,
  junction,
  type Condition,
  type ConditionOperator,
  type ConditionValue,
} from './condition.ts';
import { conditionInvalid } from './internal/condition-invalid.ts';
import { conditionTokens, type ConditionToken } from './internal/condition-tokens.ts';
import { isDroverError } from '@drover/lease-kit';
import { linearPattern } from './linear-pattern.ts';
import { numericValue } from './numeric-value.ts';
import { propertyKeyLengthMax } from './properties.ts';

const operators: ReadonlySet<string> = new Set(['==', '!=', '<', '<=', '>', '>=', '~=']);
const aTerm = 'a property name, "!" or "("';
const aValue = 'a word, a number (such as 8 or 4gb), or a string in quotes';

/**
 * Reads a condition:
 *
 * ```text
 * condition = and { "||" and }
 * and       = unary { "&&" unary }
 * unary     = "!" unary | "(" condition ")" | key [ operator value ]
 * operator  = "==" | "!=" | "<" | "<=" | ">" | ">=" | "~="
 * key       = word that starts with a letter or "_" | string
 * value     = word | number | string
 * ```
 *
 * Throws `CONDITION_INVALID` (details `position`, `problem`, `allowed`) for anything else, for more than
 * `conditionLengthMax` characters, for nesting deeper than `conditionDepthMax`, and for a pattern behind `~=` that
 * `linearPattern` does not take.
 */
export function parseCondition(text: string): Condition {
  const tokens = conditionTokens(text);
  let next = 0;
  let depth = 0;

  const peek = (): ConditionToken => tokens[next] as ConditionToken;
  const isSymbol = (symbol: string): boolean => peek().kind === 'symbol' && peek().text === symbol;
  const take = (): ConditionToken => tokens[next++] as ConditionToken;
  const fail = (token: ConditionToken, allowed: string): never => {
    const found = token.kind === 'end' ? 'the condition ends here' : `unexpected ${shown(text, token)}`;
    throw conditionInvalid(text, token.at, found, allowed);
  };
  const deeper = <T>(opening: ConditionToken, parse: () => T): T => {
    if (++depth > conditionDepthMax) {
      throw conditionInvalid(text, opening.at, 'nested too deep', `at most ${conditionDepthMax} levels of "(" and "!"`);
    }
    const result = parse();
    depth--;
    return result;
  };

  const parseJunction = (kind: 'and' | 'or', symbol: string, parseTerm: () => Condition): Condition => {
    const terms = [parseTerm()];
    while (isSymbol(symbol)) {
      take();
      terms.push(parseTerm());
    }
    return junction(kind, terms);
  };
  const parseOr = (): Condition => parseJunction('or', '||', parseAnd);
  const parseAnd = (): Condition => parseJunction('and', '&&', parseUnary);

  const parseUnary = (): Condition => {
    const token = take();
    if (token.kind === 'symbol' && token.text === '!') return { kind: 'not', term: deeper(token, parseUnary) };
    if (token.kind === 'symbol' && token.text === '(') {
      const inner = deeper(token, parseOr);
      if (!isSymbol(')')) fail(peek(), '")", "&&" or "||"');
      take();
      return inner;
    }
    const key = keyOf(token);
    if (peek().kind !== 'symbol' || !operators.has(peek().text)) return { kind: 'present', key };
    const operator = take().text as ConditionOperator;
    return { kind: 'compare', key, operator, value: valueOf(take(), operator) };
  };

  const keyOf = (token: ConditionToken): string => {
    if (token.kind !== 'word' && token.kind !== 'quoted') return fail(token, aTerm);
    if (token.kind === 'word' && !/^[A-Za-z_]/.test(token.text)) {
      return fail(token, `${aTerm}; a name that does not start with a letter goes in quotes`);
    }
    const key = token.text.trim().toLowerCase();
    if (key === '' || key.length > propertyKeyLengthMax) {
      return fail(token, `a property name of 1 to ${propertyKeyLengthMax} characters`);
    }
    return key;
  };

  const valueOf = (token: ConditionToken, operator: ConditionOperator): ConditionValue => {
    if (token.kind !== 'word' && token.kind !== 'quoted') return fail(token, aValue);
    if (operator === '~=') {
      checkPattern(text, token);
      return { kind: 'text', text: token.text };
    }
    const number = token.kind === 'word' ? numericValue(token.text) : undefined;
    return number === undefined
      ? { kind: 'text', text: token.text }
      : { kind: 'number', number, text: token.text.toLowerCase() };
  };

  const condition = parseOr();
  if (peek().kind !== 'end') fail(peek(), '"&&", "||" or the end');
  return condition;
}

/** Refuses here, with the position, what `linearPattern` would refuse later in front of an agent. */
function checkPattern(text: string, token: ConditionToken): void {
  try {
    linearPattern(token.text);
  } catch (error) {
    if (!isDroverError(error, 'PATTERN_INVALID')) throw error;
    throw conditionInvalid(text, token.at, String(error.details.problem), String(error.details.allowed));
  }
}

function shown(text: string, token: ConditionToken): string {
  const written = text.slice(token.at, Math.min(token.end, token.at + 40));
  return token.kind === 'quoted' ? `string ${written}` : JSON.stringify(written);
}
