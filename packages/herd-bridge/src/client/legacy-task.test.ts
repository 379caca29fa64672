import { create } from '@bufbuild/protobuf';
import { HerdTaskSchema, PipeKind } from '@drover/herd-protocol';
import { expect, test } from 'vitest';
import type { TaskInit } from './legacy-herd.test.fixture.ts';
import { legacyTask } from './legacy-task.ts';
import { WireNames } from './wire-names.ts';

const kind = PipeKind.FIFO;

function tagOf(task: Partial<TaskInit>, isWindows = false, folder = ''): string {
  const made = legacyTask(
    create(HerdTaskSchema, { name: 't', exe: 'bin/run', workingFolder: 'bin', ...task }),
    new Set(['bin/run', '.hidden', 'a b', 'c:d', 'tool']),
    new WireNames({ folder, isWindows }),
  );
  return Buffer.from(made.tag).toString('latin1');
}

test.each<[string, Partial<TaskInit>, string]>([
  ['an environment', { environment: { A: '1' } }, 'no environment'],
  ['a time limit', { timeout: { seconds: 1n, nanos: 0 } as never }, 'no time limits'],
  ['a program of the machine', { exe: 'python3' }, 'none of them'],
  ['an absolute program', { exe: '/bin/sh' }, 'none of them'],
  ['another working folder', { workingFolder: 'data' }, `runs a program in the program's folder, "bin"`],
  ["the job's working folder", { workingFolder: '' }, `the working folder is the job's`],
  ['a pipe with a space', { pipe: { name: 'a b', kind } }, 'is no name for it'],
  ['a pipe in another folder', { pipe: { name: '../x', kind } }, 'is no name for it'],
  ['a pipe without a name', { pipe: { name: '', kind } }, 'is no name for it'],
  ["a pipe of the agent's name", { pipe: { name: 'Internal', kind } }, "agent's own messages"],
  ['a quote in its name', { name: 'say "x"' }, 'no escape for'],
  ['a bracket in an argument', { arguments: ['a>b'] }, 'no escape for'],
  ['a newline in an argument', { arguments: ['a\nb'] }, 'no escape for'],
  ['what is not ASCII', { arguments: ['ü'] }, 'only ASCII'],
  ['too much', { arguments: ['x'.repeat(8000)] }, 'at most 8000'],
  ['a hidden program in the shared tree', { exe: './.hidden', workingFolder: '' }, 'starts with a dot'],
  ['a program with a space', { exe: './a b', workingFolder: '' }, 'space in its name'],
])('%s cannot be said', (_, task, message) => {
  expect(() => tagOf(task)).toThrow(
    expect.objectContaining({ code: 'HERD_TASK_INVALID', message: expect.stringContaining(message) as string }),
  );
});

test('what Windows has not', () => {
  expect(() => tagOf({ exe: './c:d', workingFolder: '' }, true)).toThrow('Windows has no such file names');
  expect(() => tagOf({ arguments: ['a b'] }, true)).toThrow('no way to quote it');
  expect(() => tagOf({ arguments: [''] }, true)).toThrow('no way to quote it');
});

test('a pipe that nobody asked for is not waited for, unless the program is told of it', () => {
  const pipe = { name: 'p', kind: PipeKind.UNSPECIFIED };
  expect(tagOf({ pipe })).toContain('Arguments="" Pipe=""');
  expect(tagOf({ pipe, arguments: ['{pipe}'] })).toContain('Arguments="/tmp/p" Pipe="p"');
});

test('what can be said', () => {
  expect(tagOf({ arguments: ['x', '{pipe}'], workingFolder: './bin' })).toBe(
    '<Task Name="t" Exe="bin/run" Arguments="x {pipe}" Pipe=""/>',
  );
  expect(tagOf({ exe: './.hidden', workingFolder: '', pipe: { name: 'p' }, arguments: ['{pipe}'] }, false, 'f')).toBe(
    '<Task Name="t" Exe="f/.hidden" Arguments="/tmp/p" Pipe="p"/>',
  );
  expect(tagOf({ pipe: { name: 'p' }, arguments: ['-p={pipe}'] }, true)).toBe(
    '<Task Name="t" Exe="bin/run" Arguments="-p=\\\\.\\pipe\\p" Pipe="p"/>',
  );
});
