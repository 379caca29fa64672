import { describe, expect, test } from 'vitest';
import { planCompile, type CompilePlan } from './plan-compile.ts';

const plan = (line: string, family: 'gcc' | 'clang' = 'gcc', workingFolder = '/build/p') =>
  planCompile(line.split(' '), { family, workingFolder });
const planned = (line: string, family: 'gcc' | 'clang' = 'gcc'): CompilePlan => {
  const found = plan(line, family);
  if (found.kind !== 'plan') throw new Error(`${found.reason} ${found.detail}`);
  return found;
};

describe('a plan', () => {
  test('of a line as make writes it', () => {
    expect(planned('-std=gnu99 -O2 -Wall -DLUA_USE_LINUX -Iinc -c -o lapi.o lapi.c')).toEqual({
      kind: 'plan',
      language: 'c',
      input: 'lapi.c',
      output: 'lapi.o',
      mode: 'macros',
      preprocessArguments: '-std=gnu99 -O2 -Wall -DLUA_USE_LINUX -Iinc -E -fdirectives-only lapi.c'.split(' '),
      compileArguments: '-std=gnu99 -O2 -Wall -c -nostdinc lapi.c -o /out/lapi.o'.split(' '),
      entryPath: 'lapi.c',
      outputName: 'lapi.o',
    });
  });

  test('of a line as CMake writes it: absolute source, dependency file', () => {
    const found = planned(
      '-DX=1 -I/p/inc -isystem /p/sys -g -std=gnu++17 -MD -MT d/a.cc.o -MF d/a.cc.o.d -o d/a.cc.o -c /p/src/a.cc',
    );
    expect(found.dependencyFile).toBe('d/a.cc.o.d');
    expect(found.preprocessArguments.join(' ')).toBe(
      '-DX=1 -I/p/inc -isystem /p/sys -g -std=gnu++17 -MD -MT d/a.cc.o -MF d/a.cc.o.d -E -fdirectives-only /p/src/a.cc',
    );
    expect(found.compileArguments.join(' ')).toBe(
      '-g -std=gnu++17 -c -nostdinc -fdebug-prefix-map=/src=/build/p ' +
        '-fdebug-prefix-map=drover-entry/a.cc=/p/src/a.cc drover-entry/a.cc -o /out/a.cc.o',
    );
  });

  test('of a line as the kernel and autotools write it', () => {
    const kernel = planned(
      '-Wp,-MMD,kernel/.fork.o.d -nostdinc -I./include -include ./k.h -D__KERNEL__ -O2 -c -o kernel/fork.o kernel/fork.c',
    );
    expect(kernel.compileArguments.join(' ')).toBe('-O2 -c -nostdinc kernel/fork.c -o /out/fork.o');
    const libtool = planned(
      '-DHAVE_CONFIG_H -I. -g -O2 -MT x.lo -MD -MP -MF .deps/x.Tpo -c x.c -fPIC -DPIC -o .libs/x.o',
    );
    expect(libtool.compileArguments).toContain('-fPIC');
    expect(libtool.compileArguments.join(' ')).not.toMatch(/-M|-D/);
  });

  test.each([
    ['-c a.c', 'a.o', undefined],
    ['-MD -c d/a.c', 'a.o', 'a.d'],
    ['-MMD -c d/a.c -o o/b.x.o', 'o/b.x.o', 'o/b.x.d'],
    ['-MD -c a.c -o noending', 'noending', 'noending.d'],
    ['-S -MD a.c', 'a.s', 'a.d'],
    ['-oo/joined.o -c a.c', 'o/joined.o', undefined],
  ])('%s writes %s and %s', (line, output, dependencyFile) => {
    expect(planned(line)).toMatchObject({ output, ...(dependencyFile && { dependencyFile }) });
    expect(planned(line).dependencyFile).toBe(dependencyFile);
  });

  test('the target of a dependency file is the object as it was named', () => {
    expect(planned('-MD -c a.c -o o/a.o').preprocessArguments.join(' ')).toContain('-MF o/a.d -MQ o/a.o');
    expect(planned('-MD -MQ t -c a.c -o o/a.o').preprocessArguments.join(' ')).not.toContain('-MQ o/a.o');
  });

  test('the folder in debug information is the one that the user maps it to', () => {
    const found = planned('-g -ffile-prefix-map=/build=/x -c a.c');
    expect(found.compileArguments).toContain('-fdebug-prefix-map=/src=/x/p');
  });

  test('macros are replaced for pedants and by Clang', () => {
    expect(planned('-Wpedantic -c a.c')).toMatchObject({ mode: 'expanded', entryPath: 'a.i' });
    expect(planned('-Wpedantic -c /x/a.cc')).toMatchObject({ mode: 'expanded', entryPath: 'a.ii' });
    expect(planned('-O2 -c a.m', 'clang')).toMatchObject({ mode: 'expanded', entryPath: 'a.mi' });
  });

  test('-x names the language of what comes behind it', () => {
    expect(planned('-x c++ -c a.c')).toMatchObject({ language: 'c++' });
    expect(planned('-xc++ -c a.c').compileArguments.join(' ')).toContain('-x c++ a.c');
    expect(planned('-x c -x none -c a.cc')).toMatchObject({ language: 'c++' });
  });
});

test.each([
  ['a.o b.o -o prog', 'LINKS'],
  ['a.c -o prog', 'LINKS'],
  ['conftest.c', 'LINKS'],
  ['-v', 'QUERY'],
  ['--version', 'QUERY'],
  ['-print-prog-name=ld', 'QUERY'],
  ['-dumpmachine', 'QUERY'],
  ['-O2', 'NO_INPUT'],
  ['-E a.c', 'PREPROCESSES_ONLY'],
  ['-M a.c', 'PREPROCESSES_ONLY'],
  ['-MM a.c', 'PREPROCESSES_ONLY'],
  ['-fsyntax-only a.c', 'CHECKS_ONLY'],
  ['-c a.c b.c', 'SEVERAL_INPUTS'],
  ['-c -x c -', 'STDIN'],
  ['-c a.c -o -', 'OUTPUT_NOT_A_FILE'],
  ['-c a.c -o /dev/null', 'OUTPUT_NOT_A_FILE'],
  ['-c a.S', 'ASSEMBLER'],
  ['-c a.s', 'ASSEMBLER'],
  ['-c -x assembler-with-cpp a.c', 'ASSEMBLER'],
  ['-c a.f90', 'LANGUAGE'],
  ['-c a.i', 'PREPROCESSED_INPUT'],
  ['-c a.h', 'PRECOMPILED_HEADER'],
  ['-c -x c++-header a.h', 'PRECOMPILED_HEADER'],
  ['-c -include-pch a.pch a.c', 'PRECOMPILED_HEADER'],
  ['-c -fmodules-ts a.cc', 'MODULES'],
  ['-c -fplugin=x.so a.c', 'PLUGIN'],
  ['-c -Xclang -load a.c', 'PLUGIN'],
  ['-c -march=native a.c', 'NATIVE_TUNING'],
  ['-c -mtune=native a.c', 'NATIVE_TUNING'],
  ['-c -fprofile-use=x a.c', 'PROFILE'],
  ['-c --coverage a.c', 'PROFILE'],
  ['-c -flto a.c', 'LINK_TIME_OPTIMIZATION'],
  ['-c -flto=auto a.c', 'LINK_TIME_OPTIMIZATION'],
  ['-c -gsplit-dwarf a.c', 'SPLIT_DEBUG'],
  ['-c -g3 a.c', 'MACRO_DEBUG'],
  ['-c -g -pedantic a.c', 'PEDANTIC_DEBUG'],
  ['-c -fsanitize=address /x/a.c', 'SANITIZER_PATH'],
  ['-c -save-temps a.c', 'EXTRA_OUTPUT'],
  ['-c -save-temps=obj a.c', 'EXTRA_OUTPUT'],
  ['-c -fdump-tree-all a.c', 'EXTRA_OUTPUT'],
  ['-c -fstack-usage a.c', 'EXTRA_OUTPUT'],
  ['-c -Wa,-al=x.lst a.c', 'ASSEMBLER_OPTIONS'],
  ['-c a.c -lm', 'LINKER_INPUT'],
  ['-c --unheard-of a.c', 'UNKNOWN_OPTION'],
  ['-c a.c -o', 'UNFINISHED_OPTION'],
  ['-c a.c -MF', 'UNFINISHED_OPTION'],
  ['-c @missing.rsp', 'UNKNOWN_OPTION'],
] as const)('gcc %s stays here: %s', (line, reason) => {
  expect(plan(line)).toMatchObject({ kind: 'local', reason });
});

test('variables that tell the compiler something keep it here', () => {
  expect(
    planCompile(['-c', 'a.c'], { family: 'gcc', workingFolder: '/', environment: { DEPENDENCIES_OUTPUT: 'x' } }),
  ).toEqual({ kind: 'local', reason: 'ENVIRONMENT', detail: 'DEPENDENCIES_OUTPUT' });
});

test('Clang notes digests of files', () => {
  expect(plan('-g -c a.c', 'clang')).toMatchObject({ reason: 'CLANG_DEBUG' });
});
