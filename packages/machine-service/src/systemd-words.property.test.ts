import fc from 'fast-check';
import { expect, test } from 'vitest';
import { execWord, execWordsOf, settingWord, settingWordsOf } from './systemd-words.ts';
import { windowsArgument } from './winsw-xml.ts';

const word = fc.string({ unit: fc.constantFrom(...'ab $%"\'\\{};=-/é€\u{1f4e6}'), minLength: 0, maxLength: 12 });

test('words are read back as they were written', () => {
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 5 }), (words) => {
      expect(execWordsOf(words.map(execWord).join(' '))).toEqual(words);
      expect(settingWordsOf(words.map(settingWord).join(' '))).toEqual(words);
    }),
  );
});

test.each([
  ['plain/word', 'plain/word'],
  ['a b', '"a b"'],
  ['', '""'],
  ['$HOME and %n', '"$$HOME and %%n"'],
  ['say "x\\"', '"say \\"x\\\\\\""'],
])('%j stands as %s', (text, written) => {
  expect(execWord(text)).toBe(written);
});

test.each(['a\nb', 'a\u0000', '\u007f'])('%j is refused', (text) => {
  expect(() => execWord(text)).toThrow(expect.objectContaining({ code: 'SERVICE_INVALID' }));
});

/** CommandLineToArgvW's rules, for one line of arguments. */
function windowsWords(line: string): string[] {
  const words: string[] = [];
  let at = 0;
  while (at < line.length) {
    while (line[at] === ' ') at += 1;
    if (at >= line.length) break;
    let text = '';
    let quoted = false;
    for (; at < line.length && (quoted || line[at] !== ' ');) {
      let slashes = 0;
      while (line[at] === '\\') [slashes, at] = [slashes + 1, at + 1];
      if (line[at] !== '"') text += '\\'.repeat(slashes);
      else {
        text += '\\'.repeat(Math.floor(slashes / 2));
        if (slashes % 2 === 1) text += '"';
        else quoted = !quoted;
        at += 1;
        continue;
      }
      if (at < line.length && (quoted || line[at] !== ' ')) text += line[at++];
    }
    words.push(text);
  }
  return words;
}

test('arguments for Windows are read back as they were written', () => {
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 5 }), (words) => {
      expect(windowsWords(words.map(windowsArgument).join(' '))).toEqual(words);
    }),
  );
});
