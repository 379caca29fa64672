import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readCommandWords, textOfWords } from './command-words.ts';
import { joinedOptions, separateOptions } from './option-table.ts';

const text = fc.oneof(
  fc.string(),
  fc.constantFrom(...separateOptions, '-', '--', '-c', '-g', '-MD', '-std=c11', '-undef', '-Wl,-z,now'),
  fc.tuple(fc.constantFrom(...joinedOptions), fc.string()).map(([name, value]) => name + value),
  fc.tuple(fc.constantFrom('-f', '-m', '-W', '--'), fc.string(), fc.string()).map(([a, b, c]) => `${a}${b}=${c}`),
);

test('what is read is written as it was', () => {
  fc.assert(
    fc.property(fc.array(text), (line) => {
      expect(textOfWords(readCommandWords(line))).toEqual(line);
    }),
  );
});
