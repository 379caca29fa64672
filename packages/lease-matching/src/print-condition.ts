import type { Condition, ConditionValue } from './condition.ts';
import { isWord } from './internal/condition-tokens.ts';
import { numericValue } from './numeric-value.ts';

/** Writes a condition with as few parentheses and quotes as it needs; `parseCondition` reads it back as the same. */
export function printCondition(condition: Condition): string {
  return print(condition, 'or', (value) => (value.kind === 'number' ? value.text : printText(value.text)));
}

/**
 * A condition's canonical text: terms of `&&` and `||` sorted and each once, double negation gone, numbers without
 * units, texts in lower case (patterns excepted: `\D` is not `\d`). Two conditions with the same canonical text are true
 * for the same agents. The reverse does not hold: this does not decide logical equivalence.
 */
export function canonicalCondition(condition: Condition): string {
  return printCanonical(canonical(condition));
}

/** Numbers get a sign that no word can have, or the word `1e+29` would look like the number. */
function printCanonical(condition: Condition): string {
  return print(condition, 'or', (value) => (value.kind === 'number' ? `#${value.number}` : printText(value.text)));
}

function canonical(condition: Condition): Condition {
  switch (condition.kind) {
    case 'present':
      return condition;
    case 'compare':
      return condition.operator === '~=' || condition.value.kind === 'number'
        ? condition
        : { ...condition, value: { kind: 'text', text: condition.value.text.toLowerCase() } };
    case 'not': {
      const term = canonical(condition.term);
      return term.kind === 'not' ? term.term : { kind: 'not', term };
    }
    case 'and':
    case 'or': {
      const terms = new Map<string, Condition>();
      for (const term of condition.terms.map(canonical)) {
        // Removing a double negation can bring up a junction of the same kind.
        for (const flat of term.kind === condition.kind ? term.terms : [term]) {
          terms.set(printCanonical(flat), flat);
        }
      }
      const sorted = [...terms].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, term]) => term);
      return sorted.length === 1 ? (sorted[0] as Condition) : { kind: condition.kind, terms: sorted };
    }
  }
}

/** What stands around a term, loosest first; a term that binds more loosely goes into parentheses. */
type Context = 'or' | 'and' | 'unary';

function print(condition: Condition, context: Context, printValue: (value: ConditionValue) => string): string {
  switch (condition.kind) {
    case 'present':
      return printKey(condition.key);
    case 'compare':
      return `${printKey(condition.key)} ${condition.operator} ${printValue(condition.value)}`;
    case 'not': {
      const inner = print(condition.term, 'unary', printValue);
      // `!os == linux` would read as intended and be misread by people.
      return condition.term.kind === 'compare' ? `!(${inner})` : `!${inner}`;
    }
    case 'and': {
      const text = condition.terms.map((term) => print(term, 'and', printValue)).join(' && ');
      return context === 'unary' ? `(${text})` : text;
    }
    case 'or': {
      const text = condition.terms.map((term) => print(term, 'and', printValue)).join(' || ');
      return context === 'or' ? text : `(${text})`;
    }
  }
}

function printKey(key: string): string {
  return isWord(key) && /^[A-Za-z_]/.test(key) ? key : quoted(key);
}

function printText(text: string): string {
  return isWord(text) && numericValue(text) === undefined ? text : quoted(text);
}

function quoted(text: string): string {
  return `"${text.replace(/["\\]/g, '\\$&')}"`;
}
