import { PipeKind } from '@drover/herd-protocol';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readHerdJobFile } from './read-herd-job-file.ts';
import type { HerdJob } from './herd-job.ts';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'drover-herd-job-'));
});

afterEach(() => rm(folder, { recursive: true, force: true }));

async function put(path: string, text = path): Promise<string> {
  const file = join(folder, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, text);
  return file;
}

async function read(text: string, file = 'job/herd.yaml'): Promise<HerdJob> {
  return readHerdJobFile(await put(file, text), AbortSignal.timeout(5_000));
}

async function faults(text: string, file?: string): Promise<string> {
  const error = await read(text, file).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toMatchObject({ code: 'HERD_JOB_FILE_INVALID', advice: 'fix-input' });
  return (error as Error).message;
}

test('files, folders, globs and what lies elsewhere become inputs with names in the job’s folder', async () => {
  await chmod(await put('job/run.sh'), 0o755);
  await put('job/data/a.txt');
  await put('job/data/deep/.hidden');
  await put('job/conf/x.toml');
  await put('job/conf/y.toml');
  await put('job/conf/z.txt');
  await put('tools/hammer');
  await put('tools/extra/nail');
  const job = await read(`
name: all
inputs:
  - run.sh
  - data
  - conf/*.toml
  - {from: ../tools/hammer, to: bin/hammer}
  - {from: ../tools/extra, to: bin/extra}
  - {from: "conf/*.txt", to: texts, executable: true, platform: linux-x64}
tasks:
  - {name: one, exe: bin/hammer, args: "-x 'a b' {pipe}", timeout: 90s, retries: 2}
`);
  expect(job.inputs.map(({ path, executable }) => [path, executable])).toEqual([
    ['run.sh', true],
    ['data/a.txt', false],
    ['data/deep/.hidden', false],
    ['conf/x.toml', false],
    ['conf/y.toml', false],
    ['bin/hammer', true],
    ['bin/extra/nail', false],
    ['texts/z.txt', true],
  ]);
  expect(job.inputs[5]!.source).toBe(join(folder, 'tools/hammer'));
  expect(job.inputs[7]).toMatchObject({ architecture: 'linux-x64' });
  expect(job.tasks).toEqual([
    {
      name: 'one',
      exe: 'bin/hammer',
      arguments: ['-x', 'a b', '{pipe}'],
      environment: {},
      workingFolder: '',
      pipe: { name: 'one', kind: PipeKind.UNSPECIFIED },
      timeoutMs: 90_000,
      retries: 2,
      inputs: [],
      outputs: [],
    },
  ]);
});

test('rename rules hold for inputs and, the other way round, for outputs', async () => {
  await put('job/long name.txt');
  const job = await read(`
name: renamed
rename:
  long name.txt: in.txt
  results/today.csv: out.csv
inputs: [long name.txt]
outputs: [results/today.csv, plain.csv, {from: a/b.bin, to: c.bin}]
tasks: [{name: t, exe: "true"}]
`);
  expect(job.inputs.map(({ path }) => path)).toEqual(['in.txt']);
  expect(job.outputs).toEqual([
    { path: 'out.csv', target: 'results/today.csv' },
    { path: 'plain.csv', target: 'plain.csv' },
    { path: 'a/b.bin', target: 'c.bin' },
  ]);
});

test('repeat and matrix make tasks, with values in every text', async () => {
  await put('job/in-a.txt');
  await put('job/in-b.txt');
  const job = await read(`
name: many
tasks:
  - name: unit-{n}-{kind}-{fast}
    repeat: 2
    matrix: {kind: [a, b], fast: [true]}
    exe: work
    args: ["--seed={n}", "{unknown}", '{"json": {}}']
    env: {KIND: "{kind}"}
    pipe: none
    inputs: ["in-{kind}.txt"]
    outputs: ["out/{n}-{kind}.txt"]
`);
  expect(job.tasks.map(({ name }) => name)).toEqual([
    'unit-1-a-true',
    'unit-2-a-true',
    'unit-1-b-true',
    'unit-2-b-true',
  ]);
  expect(job.tasks[3]).toMatchObject({
    arguments: ['--seed=2', '{unknown}', '{"json": {}}'],
    environment: { KIND: 'b' },
    inputs: [{ path: 'in-b.txt' }],
    outputs: [{ path: 'out/2-b.txt', target: 'out/2-b.txt' }],
  });
  expect(job.tasks[3]!.pipe).toBeUndefined();
});

test('each fault of a YAML file is told with its place and what is allowed there', async () => {
  const header = 'name: x\ntasks:\n  - name: t\n    exe: "true"\n';
  expect(await faults(`${header}    pipes: fifo\n`)).toMatch(
    /^herd\.yaml:5:5: tasks\[0\]\.pipes is not known here; allowed are name, exe, args/,
  );
  expect(await faults(`${header}    timeout: 5 minutes\n`)).toMatch(
    /^herd\.yaml:5:5: .*allowed is a number with one of/,
  );
  expect(await faults(`${header}    cwd: ../up\n`)).toMatch(/^herd\.yaml:3:5: cwd "\.\.\/up" leaves its folder/);
  expect(await faults(`${header}    args: "'open"\n`)).toMatch(/^herd\.yaml:5:5: "'open" cannot be split/);
  expect(await faults(`${header}  - name: t\n    exe: b\n`)).toMatch(
    /^herd\.yaml:5:5: "t" is the name of two tasks: also at herd\.yaml:3:5/,
  );
  expect(await faults(`${header}    repeat: 2\n`)).toMatch(/put \{n\}, or a key of the matrix, into the name/);
  expect(await faults(`${header}    repeat: 9999\n    matrix: {a: [1, 2]}\n`)).toMatch(
    /19998 tasks; allowed are 10000/,
  );
  expect(await faults(`${header}    outputs: ["*.txt"]\n`)).toMatch(/^herd\.yaml:5:15: "\*\.txt" is a pattern/);
  expect(await faults(`${header}    outputs: [a]\noutputs: [a]\n`)).toMatch(/two outputs go to "a": also at/);
  expect(await faults(`${header}inputs:\n  - ../secret\n`)).toMatch(
    /^herd\.yaml:6:5: "\.\.\/secret" leaves its folder.*named with from and to/,
  );
  expect(await faults(`${header}inputs: [{from: herd.yaml, to: /etc/passwd}]\n`)).toMatch(
    /"\/etc\/passwd" is absolute/,
  );
  expect(await faults(`${header}inputs: [absent.txt, "no*thing"]\n`)).toBe(
    'herd.yaml:5:10: absent.txt is not there\nherd.yaml:5:22: no*thing matches no file',
  );
  await put('job/other');
  expect(await faults(`${header}inputs: [{from: other, to: a}, {from: herd.yaml, to: a}]\n`)).toMatch(
    /^herd\.yaml:5:32: "a" would be both/,
  );
  expect(await faults('name: [')).toMatch(/^herd\.yaml:1:8: /);
});

test('a link is what it leads to; a circle of links ends', async () => {
  await put('elsewhere/file');
  await put('job/inner/own');
  await symlink(join(folder, 'elsewhere/file'), join(folder, 'job/inner/link'));
  const text = 'name: x\ninputs: [inner]\ntasks: [{name: t, exe: "true"}]\n';
  await symlink(join(folder, 'elsewhere'), join(folder, 'job/inner/folder'));
  await symlink(join(folder, 'job/inner'), join(folder, 'job/inner/circle'));
  const paths = (await read(text)).inputs.map(({ path }) => path);
  expect(paths).toEqual(expect.arrayContaining(['inner/folder/file', 'inner/link', 'inner/own']));
  expect(paths.length).toBeLessThan(12);
});

test('the original herd’s job as a file: names lose what they begin with, programs run in their own folder', async () => {
  await put('bin/app.exe');
  await put('job/conf/a.txt');
  await put('job/solo');
  const job = await read(
    `<?xml version="1.0"?>
<!-- as it is sent, but for the bytes -->
<Job Name="Job &amp; more">
  <Task Name="unit-a" Exe="../bin/app.exe" Arguments="../conf/a.txt -pipe=unit-a &quot;b c&quot;" Pipe="unit-a"/>
  <Task Name="unit-b" Exe="solo" Arguments="" Pipe=""/>
  <Input Name="../bin/app.exe"/>
  <Input Name="solo"/>
  <Input Name="conf/a.txt" Rename="conf/b.txt"/>
  <Output Name="../logs/out.bin"/>
  <Output Name="conf/x.bin" Rename="conf/y.bin"/>
</Job>`,
    'job/herd.xml',
  );
  expect(job.name).toBe('Job & more');
  expect(job.tasks.map(({ exe, workingFolder, arguments: args, pipe }) => [exe, workingFolder, args, pipe])).toEqual([
    ['bin/app.exe', 'bin', ['../conf/a.txt', '-pipe=unit-a', 'b c'], { name: 'unit-a', kind: PipeKind.FIFO }],
    ['./solo', '', [], undefined],
  ]);
  expect(job.inputs.map(({ path, source, executable }) => [path, source, executable])).toEqual([
    ['bin/app.exe', join(folder, 'bin/app.exe'), true],
    ['solo', join(folder, 'job/solo'), true],
    ['conf/b.txt', join(folder, 'job/conf/a.txt'), false],
  ]);
  expect(job.outputs).toEqual([
    { path: 'logs/out.bin', target: 'logs/out.bin' },
    { path: 'conf/y.bin', target: 'conf/x.bin' },
  ]);
});

test('requirement files bring inputs and outputs, some for one platform', async () => {
  await put('bin/app');
  await put('bin/app.exe');
  await put('job/world.txt');
  await put(
    'job/unit.requirements',
    `<Requirements><NumCPUCores>1</NumCPUCores><Input-File>world.txt</Input-File>
<Output-File Rename="logs/o.bin">logs/one.bin</Output-File>
<Target-Platform Name="Linux-64"><Input-File Rename="bin/run">../bin/app</Input-File></Target-Platform>
<Target-Platform Name="Win-64"><Input-File Rename="bin/run">../bin/app.exe</Input-File></Target-Platform>
</Requirements>`,
  );
  const job = await read(`
name: units
requirements: unit.requirements
tasks: [{name: t, exe: bin/run}]
`);
  expect(job.inputs.map(({ path, architecture }) => [path, architecture])).toEqual([
    ['world.txt', undefined],
    ['bin/run', 'linux-x64'],
    ['bin/run', 'win32-x64'],
  ]);
  expect(job.outputs).toEqual([{ path: 'logs/o.bin', target: 'logs/one.bin' }]);
});

test('XML that is wrong, foreign or hostile is refused with its place', async () => {
  const xml = (inner: string): Promise<string> => faults(`<Job Name="x">\n${inner}\n</Job>`, 'job/herd.xml');
  expect(await xml('<Task Name="a" Exe="a"/>\n<Extra/>')).toBe(
    'herd.xml:3:1: Extra is not known in Job; allowed: Task, Input, Output, Requirements',
  );
  expect(await xml('<Task Name="a" Exe="a" Size="3"/>')).toMatch(/^herd\.xml:2:1: Task has an attribute Size/);
  expect(await xml('<Task Exe="a"/>')).toMatch(/^herd\.xml:2:1: Task has no Name/);
  expect(await xml('<Input Name="x"/>')).toMatch(/Job has no Task/);
  expect(await xml('<Task Name="a" Exe="a"/><Output Name="a/../../../x"/>')).toMatch(/leaves its folder/);
  expect(await xml('<Task Name="a" Exe="a"/><Input Name="gone"/>')).toMatch(/^herd\.xml:2:25: gone is not there/);
  expect(await xml('<Task Name="a" Exe="&e;"/>')).toMatch(/is no XML/);
  expect(await faults('<!DOCTYPE Job [<!ENTITY e "x">]><Job/>', 'job/herd.xml')).toMatch(
    /a document type is not allowed/,
  );
  expect(await faults('<Task/>', 'job/herd.xml')).toMatch(/a job file begins with Job/);
  expect(await faults('<Job>', 'job/herd.xml')).toMatch(/^herd\.xml:1:\d+: is no XML/);
  expect(await faults(`<Job>${'<a>'.repeat(40)}`, 'job/herd.xml')).toMatch(/nested deeper than 16/);
});
