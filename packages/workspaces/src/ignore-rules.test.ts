import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { parseIgnoreRules } from './ignore-rules.ts';

const paths = [
  'a.log',
  'b/a.log',
  'b/c/a.log',
  'b/c/d/e.txt',
  'doc/frotz.txt',
  'x/doc/frotz.txt',
  'foo/bar/baz.txt',
  'foo/x/y/bar.txt',
  'file1',
  'filea',
  'file-',
  '#hash',
  '!bang',
  'a+b(c).txt',
  'star*name',
  'build/out.txt',
  'src/build/out.txt',
  'src/build.txt',
];

test.each([
  '*.log',
  '/*.log',
  'b/*.log',
  'b/**/a.log',
  '**/a.log',
  'b/**',
  '**/doc',
  'doc/*.txt',
  'build/',
  '/build/',
  'build*',
  'file[0-9]',
  'file[!0-9]',
  'file[a-z-]',
  'file?',
  '\\#hash',
  '\\!bang',
  '# a comment\n\n*.txt\n!e.txt',
  'a+b(c).txt',
  'star\\*name',
  'foo/**/bar.txt',
  'f**e1',
  '*.txt   ',
])('matches what git matches: %j', (text) => {
  const dir = mkdtempSync(join(tmpdir(), 'drover-ignore-'));
  try {
    execFileSync('git', ['init', '-q', dir]);
    for (const path of paths) {
      mkdirSync(dirname(join(dir, path)), { recursive: true });
      writeFileSync(join(dir, path), '');
    }
    writeFileSync(join(dir, '.git', 'info', 'exclude'), `${text}\n`);
    const listed = execFileSync('git', ['-C', dir, 'ls-files', '-z', '--others', '--exclude-standard'], {
      encoding: 'utf8',
    });
    const rules = parseIgnoreRules(text);
    // As a walk asks: every folder on the way first.
    const kept = paths.filter((path) => {
      const parts = path.split('/');
      return parts.every(
        (_, index) => rules.verdict(parts.slice(0, index + 1).join('/'), index < parts.length - 1) !== 'ignored',
      );
    });
    expect(kept.sort()).toEqual(
      listed
        .split('\0')
        .filter((path) => path !== '')
        .sort(),
    );
  } finally {
    rmSync(dir, { recursive: true });
  }
});
