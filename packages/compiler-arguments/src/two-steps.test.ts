import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { judgeSource } from './judge-source.ts';
import { planCompile, type CompilerFamily } from './plan-compile.ts';

const sources = {
  'sub/h.h': '#pragma once\n#define SQ(x) ((x)*(x))\nstatic inline int sq(int a) { return SQ(a); }\n',
  'src/plain.c': `#include <stdio.h>
#include <assert.h>
#include "h.h"
#define ADD(a,b) ((a)+(b))
struct s { int a; double d; };
int f(struct s *x, int n) {
  int t = __COUNTER__;
  for (int i = 0; i < n; i++) { t = ADD(t, sq(x[i].a)); assert(t); printf("%d %s %d\\n", t, __FILE__, ADD(__LINE__, NUMBER)); }
  switch (t) { case 1: t++; /* fall through */ case 2: t--; }
  return t;
}
_Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \\"-Wunused-variable\\"")
void g(void) { int zz; }
_Pragma("GCC diagnostic pop")
`,
  'src/plus.cc': `#include "h.h"
namespace { struct A { A(); int q; }; A::A() : q(sq(NUMBER)) {} A a; template <class T> struct V { T *p; ~V() { delete p; } void add(T t) { p = new T(t); } }; V<int> m; }
static int z = (m.add(SQ(4)), 5);
`,
  'src/warns.c': '#define BAD(x) ((x) = 5)\nint f(int x) { if (BAD(x)) x++; int unused; return x; }\n',
  'src/fails.c': 'int f(void) { return nothing; }\n',
};
const flags = [
  '-O2 -g -Wall -Wextra',
  '-O0 -ggdb -gdwarf-4 -fPIC -ffile-prefix-map=FOLDER=/x',
  '-O2 -Wall -pedantic',
  '-O1 -fsanitize=undefined',
  '-S -O2',
];
const compilers = ['gcc', 'clang'] as const;
const isThere = (name: string): boolean => spawnSync(name, ['--version']).status === 0;

let folder: string;
let src: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'two-steps-'));
  src = join(folder, 'elsewhere');
  for (const [path, text] of Object.entries(sources)) {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  }
});
afterAll(() => rmSync(folder, { recursive: true }));

function run(compiler: string, texts: readonly string[], cwd: string) {
  const done = spawnSync(compiler, texts, { cwd, maxBuffer: 2 ** 28, env: { PATH: process.env['PATH'], LC_ALL: 'C' } });
  return { status: done.status, stdout: done.stdout, stderr: done.stderr.toString() };
}

/** Both steps, with /src and /out of this test. Undefined: it stays here. */
function twoSteps(family: CompilerFamily, line: readonly string[]) {
  const plan = planCompile(line, { family, workingFolder: folder });
  if (plan.kind === 'local') return undefined;
  const first = run(family, plan.preprocessArguments, folder);
  if (first.status !== 0 || first.stderr !== '') return { isSilent: false };
  const judged = judgeSource(first.stdout, plan.mode);
  if (judged.kind === 'local') throw new Error(`${judged.reason} ${judged.detail}`);
  const entry = join(src, plan.entryPath);
  mkdirSync(dirname(entry), { recursive: true });
  writeFileSync(entry, judged.text);
  const here = plan.compileArguments.map((text) =>
    text.replace(/^(-fdebug-prefix-map=)?\/src(?==)/, `$1${src}`).replace(/^\/out/, src),
  );
  const second = run(family, here, src);
  return {
    isSilent: second.status === 0 && second.stderr === '',
    object: join(src, plan.outputName),
    stderr: second.stderr,
    dependencies: plan.dependencyFile && readFileSync(join(folder, plan.dependencyFile), 'utf8'),
  };
}

for (const family of compilers) {
  describe.skipIf(!isThere(family))(`with ${family} [limits:compilers]`, () => {
    test.each(flags)('%s: two steps make the object that one makes', (given) => {
      for (const name of ['src/plain.c', 'src/plus.cc', join(folder, 'src/plus.cc')]) {
        const options = given.replace('FOLDER', folder).split(' ');
        const line = [
          ...options,
          '-Isub',
          '-DNUMBER=3',
          '-MD',
          ...(given.startsWith('-S') ? [] : ['-c']),
          name,
          '-o',
          'made.o',
        ];
        const two = twoSteps(family, line);
        if (two === undefined) continue;
        const one = run(family, line, folder);
        expect
          .soft({ name, status: one.status, stderr: one.stderr, isSilent: two.isSilent, said: two.stderr })
          .toEqual({ name, status: 0, stderr: '', isSilent: true, said: '' });
        expect.soft(readFileSync(two.object!).equals(readFileSync(join(folder, 'made.o'))), name).toBe(true);
        expect.soft(two.dependencies).toBe(readFileSync(join(folder, 'made.d'), 'utf8'));
      }
    });

    test.each(['src/warns.c', 'src/fails.c'])('%s: where one step says something, so do two', (name) => {
      for (const options of [['-Wall'], ['-Wall', '-Werror']]) {
        const line = [...options, '-c', name, '-o', 'made.o'];
        expect(run(family, line, folder).stderr).not.toBe('');
        expect(twoSteps(family, line)).toMatchObject({ isSilent: false });
      }
    });
  });
}

test.each(['const char *t = __TIME__;', 'asm(".incbin \\"x\\"");', '#embed "x"'])(
  '%s is known when it is compiled',
  (text) => {
    expect(judgeSource(Buffer.from(`${text}\n`), 'macros')).toMatchObject({ reason: 'READS_WHEN_COMPILED' });
  },
);
