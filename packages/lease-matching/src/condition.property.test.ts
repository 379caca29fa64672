import { isDroverError, type DroverError } from '@drover/lease-kit';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { junction, type Condition, type ConditionOperator } from './condition.ts';
import { evaluateCondition } from './evaluate-condition.ts';
import { explainCondition } from './explain-condition.ts';
import { parseCondition } from './parse-condition.ts';
import { canonicalCondition, printCondition } from './print-condition.ts';
import { propertiesFrom, propertyLines, type Properties } from './properties.ts';

const keys = ['os', 'ram', 'gpu', 'tag', 'a key'];
const texts = ['linux', 'Windows', '10.0.19', 'v1', 'has "quotes" and \\', '', 'ärger', '8', '4gb', '1e+29'];
const numbers = ['0', '-3', '8', '4gb', '512mb', '2.5', '1024kb', '100000000000000000000000000000'];
const orders = ['==', '!=', '<', '<=', '>', '>='] as const satisfies readonly ConditionOperator[];

const term: fc.Arbitrary<Condition> = fc.oneof(
  fc.constantFrom(...keys).map((key): Condition => ({ kind: 'present', key })),
  fc
    .tuple(fc.constantFrom(...keys), fc.constantFrom(...orders), fc.constantFrom(...texts))
    .map(([key, operator, text]): Condition => ({ kind: 'compare', key, operator, value: { kind: 'text', text } })),
  fc
    .tuple(fc.constantFrom(...keys), fc.constantFrom(...orders), fc.constantFrom(...numbers))
    .map(([key, operator, text]): Condition => {
      const unit = { kb: 2 ** 10, mb: 2 ** 20, gb: 2 ** 30 }[text.slice(-2)] ?? 1;
      return {
        kind: 'compare',
        key,
        operator,
        value: { kind: 'number', number: Number.parseFloat(text) * unit, text },
      };
    }),
  fc
    .tuple(fc.constantFrom(...keys), fc.constantFrom('^l.n', '\\d+gb$', 'a|b"', '[^x]'))
    .map(([key, text]): Condition => ({ kind: 'compare', key, operator: '~=', value: { kind: 'text', text } })),
);

/** Any condition up to a depth that the language allows, in the form in which `parseCondition` gives it. */
const conditions: fc.Arbitrary<Condition> = fc.letrec<{ node: Condition }>((tie) => ({
  node: fc.oneof(
    { depthSize: 'small', maxDepth: 5 },
    term,
    tie('node').map((inner): Condition => ({ kind: 'not', term: inner })),
    fc
      .tuple(fc.constantFrom('and' as const, 'or' as const), fc.array(tie('node'), { minLength: 2, maxLength: 3 }))
      .map(([kind, terms]) => junction(kind, terms)),
  ),
})).node;

/** Properties that the arbitrary conditions are about. */
const propertySets: fc.Arbitrary<Properties> = fc
  .array(
    fc
      .tuple(fc.constantFrom(...keys), fc.constantFrom(...texts, ...numbers, 'LINUX', 'b"'))
      .map(([key, value]) => `${key}=${value}`),
    { maxLength: 8 },
  )
  .map(propertiesFrom);

test('a printed condition reads back as the same', () => {
  fc.assert(
    fc.property(conditions, (condition) => {
      expect(parseCondition(printCondition(condition))).toEqual(condition);
    }),
  );
});

test('a condition keeps its truth under De Morgan', () => {
  fc.assert(
    fc.property(conditions, conditions, propertySets, (a, b, properties) => {
      const not = (inner: Condition): Condition => ({ kind: 'not', term: inner });
      const holds = (condition: Condition) => evaluateCondition(condition, properties);
      expect(holds(not(junction('and', [a, b])))).toBe(holds(junction('or', [not(a), not(b)])));
      expect(holds(not(junction('or', [a, b])))).toBe(holds(junction('and', [not(a), not(b)])));
    }),
  );
});

test('conditions with the same canonical text hold for the same agents', () => {
  fc.assert(
    fc.property(conditions, conditions, propertySets, (a, b, properties) => {
      const holds = evaluateCondition(a, properties);
      const doubled: Condition = { kind: 'not', term: { kind: 'not', term: a } };
      expect(canonicalCondition(doubled)).toBe(canonicalCondition(a));
      expect(canonicalCondition(junction('or', [a, b]))).toBe(canonicalCondition(junction('or', [b, a, b])));
      if (canonicalCondition(a) === canonicalCondition(b)) expect(evaluateCondition(b, properties)).toBe(holds);
    }),
    { numRuns: 1000 },
  );
});

test('without "!", one more value makes no true condition false', () => {
  const positive = conditions.filter((condition) => !printCondition(condition).includes('!'));
  fc.assert(
    fc.property(positive, propertySets, propertySets, (condition, few, more) => {
      const all = propertiesFrom([...propertyLines(few), ...propertyLines(more)]);
      if (evaluateCondition(condition, few)) expect(evaluateCondition(condition, all)).toBe(true);
    }),
  );
});

test('what is explained is false, and only false conditions are explained', () => {
  fc.assert(
    fc.property(conditions, propertySets, (condition, properties) => {
      const explanation = explainCondition(condition, properties);
      expect(explanation.holds).toBe(evaluateCondition(condition, properties));
      if (!explanation.holds) expect(evaluateCondition(parseCondition(explanation.term), properties)).toBe(false);
    }),
  );
});

test('any text either parses or is refused with its position', () => {
  const pieces = fc.constantFrom(
    'os',
    '==',
    '"',
    "'",
    '(',
    ')',
    '!',
    '&&',
    '||',
    '~=',
    '[',
    '8gb',
    ' ',
    '\\',
    '=',
    '\n',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(pieces).map((list) => list.join('')),
      ),
      (text) => {
        try {
          parseCondition(text);
        } catch (error) {
          expect(isDroverError(error, 'CONDITION_INVALID')).toBe(true);
          expect((error as DroverError).details.position).toBeLessThanOrEqual(text.length);
        }
      },
    ),
    { numRuns: 1000 },
  );
});
