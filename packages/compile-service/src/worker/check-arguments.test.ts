import { isDroverError } from '@drover/lease-kit';
import { expect, test } from 'vitest';
import { checkArguments } from './check-arguments.ts';
import { CompileFolder } from './compile-folder.ts';

test.each([
  'gcc -c /src/main.i -o /out/main.o',
  'x86_64-linux-gnu-g++-12 -O2 -I/src/include -I ../include -isystem /usr/include/x -c /src/a.ii -o /out/b/a.o',
  '/usr/bin/clang -c main.c -Wp,-MD,/out/main.d -MT any/target.o -DCONF="/etc/x" -o/out/main.o -fdebug-prefix-map=/src=/home/ada/x',
])('%s is a compile', (line) => {
  checkArguments(line.split(' '), '/src/sub');
});

test.each([
  ['gcc -c /home/ada/a.c -o /out/a.o', '/home/'],
  ['gcc -c a.c -I/Users/ada -o /out/a.o', '/Users/'],
  ['gcc -c C:\\Users\\ada\\a.c', 'C:\\Users\\'],
  ['gcc -c /etc/passwd -o /out/a.o', 'leaves'],
  ['gcc -c /src/../etc/passwd', 'leaves'],
  ['gcc -c /src-extra/a.c', 'leaves'],
  ['gcc -c ../../etc/passwd', 'leaves'],
  ['gcc -include/etc/shadow -c a.c', 'leaves'],
  ['gcc -c a.c -o /src/a.o', 'outputs'],
  ['gcc -c a.c -o/usr/a.o', 'outputs'],
  ['gcc -c a.c -fplugin=/src/evil.so', 'plugins'],
  ['gcc -c a.c -fplugin-arg-x', 'plugins'],
  ['clang -Xclang -load -Xclang /src/evil.so -c a.c', 'plugins'],
  ['gcc -c a.c -specs=/src/evil', 'specs'],
  ['gcc -wrapper /src/evil -c a.c', 'wrappers'],
  ['gcc @/src/list', 'response files'],
  ['sh -c true', 'no compiler'],
  ['/src/gcc -c a.c', 'no compiler'],
  ['/usr/../src/gcc -c a.c', 'no compiler'],
  ['', 'no compiler'],
])('%s is refused', (line, why) => {
  expect(() => checkArguments(line.split(' '), '/src')).toThrow(
    expect.toSatisfy(
      (error: unknown) => isDroverError(error, 'COMPILE_ARGUMENT_REFUSED') && (error as Error).message.includes(why),
    ),
  );
});

test('the working folder is below /src', () => {
  expect(() => checkArguments(['gcc'], '/src/../etc')).toThrow(/the working folder is not below/);
});

test('a command line is placed by whole names of folders, and text stays', () => {
  const folder = new CompileFolder('/run/drover', 'id');
  const line =
    'gcc -I/src -I /src/inc -I../x /src-extra/y /src/src/z -o/out/a.o -Wp,-MD,/out/a.d,-MT,/out/a.o -MQ /out/a.o -DX=/src/x -fdebug-prefix-map=/src=/home/ada/x';
  expect(folder.placeArguments(line.split(' ')).join(' ')).toBe(
    'gcc -ffile-prefix-map=/run/drover/id/src=/src -ffile-prefix-map=/run/drover/id/out=/out ' +
      '-I/run/drover/id/src -I /run/drover/id/src/inc -I../x /src-extra/y /run/drover/id/src/src/z -o/run/drover/id/out/a.o ' +
      '-Wp,-MD,/run/drover/id/out/a.d,-MT,/run/drover/id/out/a.o -MQ /out/a.o -DX=/src/x ' +
      '-fdebug-prefix-map=/run/drover/id/src=/home/ada/x',
  );
  expect(Buffer.from(folder.unplace(Buffer.from('a /run/drover/id/src/b.c: /run/drover/id/out/c'))).toString()).toBe(
    'a /src/b.c: /out/c',
  );
});
