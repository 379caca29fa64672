import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';

const root = join(import.meta.dirname, '../../..');

/** The cells of one column of every table of a document, without the heads. */
function column(document: string, index: number): string[] {
  const lines = readFileSync(join(root, document), 'utf8').split('\n');
  const isRow = (line: string | undefined): boolean => line?.startsWith('|') === true;
  const isRule = (line: string | undefined): boolean => /^\|( *:?-+:? *\|)+$/.test(line ?? '');
  return lines
    .filter((line, at) => isRow(line) && !isRule(line) && !isRule(lines[at + 1]))
    .map((line) => line.split('|')[index + 1]!.trim());
}

test('the map of docs/ARCHITECTURE.md names every package and app once', () => {
  const named = column('docs/ARCHITECTURE.md', 1).flatMap((cell) => cell.split(', '));
  const there = ['packages', 'apps'].flatMap((group) =>
    readdirSync(join(root, group)).filter((name) => existsSync(join(root, group, name, 'package.json'))),
  );
  const inMap = new Set(there);
  expect(named.filter((name) => inMap.has(name)).sort()).toEqual(there.sort());
});

test('the glossary has each word once, in alphabetical order', () => {
  const words = column('docs/GLOSSARY.md', 0).map((word) => word.toLowerCase());
  expect(words.length).toBeGreaterThan(50);
  expect(words).toEqual([...new Set(words)].sort((left, right) => left.localeCompare(right, 'en')));
});
