import type { ComparisonCondition, Condition } from './condition.ts';
import { linearPattern, type LinearPattern } from './linear-pattern.ts';
import { naturalOrder } from './natural-order.ts';
import { numericValue } from './numeric-value.ts';
import type { Properties } from './properties.ts';

/** Compiled patterns of the comparisons that are alive: conditions stay plain data and compile once. */
const patterns = new WeakMap<ComparisonCondition, LinearPattern>();

/**
 * Whether a condition holds for an agent. A comparison holds if any value of its key satisfies it, so a key with the values
 * `a` and `b` satisfies both `key == a` and `key != a`, and an absent key satisfies no comparison at all; write
 * `!(key == a)` for "has no a". `== != < <= > >=` with a number look at values that are numbers only (`!=` also holds for
 * a value that is none); with text they compare without regard to case, in natural order.
 */
export function evaluateCondition(condition: Condition, properties: Properties): boolean {
  switch (condition.kind) {
    case 'present':
      return properties.has(condition.key);
    case 'compare':
      return (properties.get(condition.key) ?? []).some((value) => satisfies(condition, value));
    case 'not':
      return !evaluateCondition(condition.term, properties);
    case 'and':
      return condition.terms.every((term) => evaluateCondition(term, properties));
    case 'or':
      return condition.terms.some((term) => evaluateCondition(term, properties));
  }
}

function satisfies(comparison: ComparisonCondition, value: string): boolean {
  const { operator, value: wanted } = comparison;
  if (operator === '~=') return patternOf(comparison).matches(value);
  if (wanted.kind === 'number') {
    const number = numericValue(value);
    return number === undefined ? operator === '!=' : holds(operator, number - wanted.number);
  }
  if (operator === '==' || operator === '!=') {
    return (value.toLowerCase() === wanted.text.toLowerCase()) === (operator === '==');
  }
  return holds(operator, naturalOrder(value, wanted.text));
}

function holds(operator: Exclude<ComparisonCondition['operator'], '~='>, order: number): boolean {
  switch (operator) {
    case '==':
      return order === 0;
    case '!=':
      return order !== 0;
    case '<':
      return order < 0;
    case '<=':
      return order <= 0;
    case '>':
      return order > 0;
    case '>=':
      return order >= 0;
  }
}

function patternOf(comparison: ComparisonCondition): LinearPattern {
  let pattern = patterns.get(comparison);
  if (pattern === undefined) {
    pattern = linearPattern(comparison.value.text);
    patterns.set(comparison, pattern);
  }
  return pattern;
}
