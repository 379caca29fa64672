import { describe, expect, test } from 'vitest';
import { evaluateCondition } from './evaluate-condition.ts';
import { explainCondition } from './explain-condition.ts';
import { parseCondition } from './parse-condition.ts';
import { propertiesFrom } from './properties.ts';

const agent = propertiesFrom([
  'OS=Linux',
  'os=Ubuntu',
  'Ram=16gb',
  'version=1.10.0',
  'gpu',
  'note=no number',
  'cores=8',
]);
const holds = (text: string) => evaluateCondition(parseCondition(text), agent);

describe('evaluateCondition', () => {
  test.each([
    ['os == LINUX', true],
    ['os == windows', false],
    ['os != linux', true], // Ubuntu is a value that is not linux.
    ['!(os == linux)', false],
    ['absent != linux', false], // No value, so none that satisfies.
    ['!(absent == linux)', true],
    ['gpu', true],
    ['absent', false],
    ['gpu == ""', true],
    ['ram >= 16384mb', true],
    ['ram > 16gb', false],
    ['ram == 17179869184', true],
    ['note > 1', false],
    ['note != 1', true],
    ['cores == "8"', true],
    ['cores < 10', true],
    ['cores < "10"', true], // Natural order, not "1" before "8".
    ['version >= "1.9"', true],
    ['version < 1.10.1', true],
    ['os ~= "^ub"', true],
    ['os ~= "^bu"', false],
    ['os == ubuntu && (gpu || absent) && !absent', true],
  ])('%s is %s', (text, expected) => expect(holds(text)).toBe(expected));

  test('keys named like parts of an object are keys like others', () => {
    expect(holds('constructor')).toBe(false);
    expect(evaluateCondition(parseCondition('__proto__ == x'), propertiesFrom(['__proto__=x']))).toBe(true);
  });
});

describe('explainCondition', () => {
  test.each([
    ['gpu && os == windows && absent', '`os == windows` is false: os is Linux and Ubuntu'],
    ['absent > 3', '`absent > 3` is false: absent is not reported'],
    ['gpu && !gpu', '`!gpu` is false: gpu is present'],
    ['ram > 32gb || cores > 16', '`ram > 32gb || cores > 16` is false: ram is 16gb, cores is 8'],
    ['(absent || note == x) && gpu', '`absent || note == x` is false: absent is not reported, note is no number'],
  ])('%s', (text, message) => {
    expect(explainCondition(parseCondition(text), agent)).toMatchObject({ holds: false, message });
  });

  test('says nothing about a condition that holds', () => {
    expect(explainCondition(parseCondition('gpu'), agent)).toEqual({ holds: true });
  });
});
