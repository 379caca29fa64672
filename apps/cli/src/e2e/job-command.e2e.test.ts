import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { TestFleet, jobEnded, until, type ServerProcess } from './test-fleet.fixture.ts';

let fleet: TestFleet;
let server: ServerProcess;
const drover = (...args: string[]) => fleet.drover(...args, '--server', server.url);

beforeAll(async () => {
  fleet = await TestFleet.create();
  server = await fleet.server();
  await fleet.agent(server, { flags: ['--agent-pools', 'fast', '--agent-properties', 'colour=blue'] });
});
afterAll(() => fleet.dispose());

describe('a job', () => {
  test('that succeeds: progress, logs, result, outputs, exit code 0', async () => {
    mkdirSync(fleet.path('src'), { recursive: true });
    writeFileSync(fleet.path('src/greeting.txt'), 'hello\n');
    const file = fleet.jobFile('build', {
      name: 'linux',
      inputs: [{ path: 'src', upload: 'src' }],
      steps: { compile: 'cat src/greeting.txt; mkdir out; echo binary > out/app', test: 'echo 1 test passed' },
      outputs: ['out/**'],
    });
    const ran = await drover('job', 'run', file);
    expect(ran, ran.stderr).toMatchObject({ code: 0 });
    const id = /^job ([0-9a-f]{8}) submitted to http:\/\/127\.0\.0\.1:\d+$/m.exec(ran.stdout)![1]!;
    expect(ran.stdout).toMatch(/^linux .* \d+ % {2}(waiting|offered|running)/m);
    expect(ran.stdout).toMatch(/^compile +│ hello$/m);
    expect(ran.stdout).toMatch(/^test +│ 1 test passed$/m);
    expect(ran.stdout).toMatch(
      /^linux {2}succeeded on agent-1\n {2}✓ compile .*\n {2}✓ test .*\n {2}↳ out\/app {2}7 B$/m,
    );
    expect(ran.stdout).toMatch(new RegExp(`^job ${id} build succeeded after .*s\\n$`, 'm'));

    const fetched = await drover('job', 'outputs', id, '-o', fleet.path('fetched'));
    expect(fetched.stdout.trim()).toBe(fleet.path('fetched/linux/out/app'));
    expect(readFileSync(fleet.path('fetched/linux/out/app'), 'utf8')).toBe('binary\n');
    const again = await drover('job', 'outputs', id, '-o', fleet.path('fetched'));
    expect(again).toMatchObject({ code: 3, stderr: expect.stringContaining('--force replaces it (OUTPUT_EXISTS)') });

    const logs = await drover('job', 'logs', id);
    expect(logs.stdout).toBe('hello\n1 test passed\n');
    expect((await drover('job', 'logs', id, '--step', 'test')).stdout).toBe('1 test passed\n');
    const shown = await drover('job', 'show', id);
    expect(shown.stdout).toMatch(new RegExp(`^job ${id}-[-0-9a-f]{27} {2}build {2}succeeded$`, 'm'));
    const listed = await drover('job', 'list', '--state', 'succeeded');
    expect(listed.stdout).toMatch(/^JOB +NAME +STATE +LEASES +PRIORITY +SUBMITTER +AGE$/m);
    expect(listed.stdout).toMatch(new RegExp(`^${id} +build +succeeded +1 +0 +user:local +`, 'm'));
  });

  test('whose step fails ends with 1 and says which, and skips what needs it', async () => {
    const ran = await drover(
      'job',
      'run',
      fleet.jobFile('broken', { steps: { a: 'echo oops; exit 3', b: 'echo never' } }),
    );
    expect(ran).toMatchObject({ code: 1 });
    expect(ran.stdout).toMatch(/^ {2}✗ a .* exit code 3\n {2}– b +skipped: it needs a, which did not succeed$/m);
    expect(ran.stdout).toMatch(/^job [0-9a-f]{8} broken failed after/m);
    expect(ran.stdout).not.toContain('never');
  });

  test('that is cancelled ends with 6', async () => {
    const file = fleet.jobFile('endless', { steps: { s: `touch ${fleet.path('runs')}; ${fleet.waitFor('no')}` } });
    const running = fleet.start(['job', 'run', file, '--server', server.url]);
    const id = (await running.line(/submitted/)).split(' ')[1]!;
    await fleet.made('runs');
    const cancelled = await drover('job', 'cancel', id);
    expect(cancelled).toMatchObject({ code: 0, stdout: `job ${id} is being cancelled\n` });
    const ended = await running.exited;
    expect(ended).toMatchObject({ code: 6 });
    expect(ended.stdout).toMatch(/endless cancelled after/);
  });

  test('is followed by its logs while they are written', async () => {
    const file = fleet.jobFile('slow', {
      steps: { s: `echo one; ${fleet.waitFor('two')}; echo two`, t: 'echo three' },
    });
    const id = await fleet.submit(server, file);
    const logs = fleet.start(['job', 'logs', '-f', id, '--server', server.url]);
    await logs.line(/^one$/);
    fleet.open('two');
    expect(await logs.exited).toMatchObject({ code: 0, stdout: 'one\ntwo\nthree\n' });
  });

  test('that nobody can take says so, and why for each agent', async () => {
    const file = fleet.jobFile('odd', { steps: { s: 'true' }, requires: { condition: 'colour == red' } });
    const id = await fleet.submit(server, file);
    const why = await drover('why', id);
    expect(why.stdout).toMatch(/^batch-1 {2}waiting$/m);
    expect(why.stdout).toMatch(/^ {2}none of the 1 agents known could take it.* \(NOBODY_CAN_TAKE_IT\)$/m);
    expect(why.stdout).toMatch(
      /^ {2}agent-1 {2}condition `colour == red` is false: colour is blue \(CONDITION_FALSE\)$/m,
    );
    const leases = await drover('leases');
    expect(leases.stdout).toMatch(/^[0-9a-f]{8} +[0-9a-f]{8} +batch-1 +waiting +- +0 % +colour == red/m);
    expect(JSON.parse((await drover('leases', '--json')).stdout)).toMatchObject({ leases: [{ name: 'batch-1' }] });
    const json = JSON.parse((await drover('why', id, '--json')).stdout);
    expect(json.leases[0].agents).toContainEqual(
      expect.objectContaining({ agentId: 'agent-1', code: 'CONDITION_FALSE' }),
    );
    await drover('job', 'cancel', id);
    await jobEnded(server, id);
  });
});

describe('for programs', () => {
  test('every list and every job is one JSON document', async () => {
    const ran = await drover('job', 'run', '--json', fleet.jobFile('json', { steps: { s: 'echo quiet' } }));
    const { job } = JSON.parse(ran.stdout);
    expect(job).toMatchObject({ name: 'json', state: 'JOB_STATE_SUCCEEDED', leases: [{ succeeded: true }] });
    expect(job.leases[0].output).toMatchObject({ succeeded: true, steps: [{ name: 's', exitCode: 0 }] });
    expect(ran.stderr).toMatch(/s +│ quiet/);
    expect(JSON.parse((await drover('job', 'show', job.jobId, '--json')).stdout)).toEqual({ job });
    expect(JSON.parse((await drover('job', 'list', '--json', '--limit', '1')).stdout).jobs).toHaveLength(1);
    const { agents } = JSON.parse((await drover('agents', '--json')).stdout);
    expect(agents).toMatchObject([{ agentId: 'agent-1', online: true, description: { pools: ['fast'] } }]);
    const submitted = await drover('job', 'submit', '--json', fleet.jobFile('quick', { steps: { s: 'true' } }));
    const { jobId } = JSON.parse(submitted.stdout);
    expect(await jobEnded(server, jobId)).toMatchObject({ name: 'quick' });
  });

  test('agents are a table for people', async () => {
    const { stdout } = await drover('agents');
    expect(stdout).toMatch(/^AGENT +STATE +SINCE +LEASES +RESOURCES +POOLS +VERSION +COMMENT$/m);
    expect(stdout).toMatch(/^agent-1 +ok +\S+ +0 +cores 0\/4, ram 0 B\/.* +fast +\d/m);
  });

  test('the schema of job files and the completion of shells are there', async () => {
    expect(JSON.parse((await fleet.drover('job', 'schema')).stdout)).toMatchObject({ title: 'Drover job file' });
    const bash = await fleet.drover('completion', 'bash');
    expect(bash).toMatchObject({ code: 0, stdout: expect.stringContaining('# bash completion for drover') });
    const words = await fleet.drover('complete', '--', 'job', 'ca');
    expect(words.stdout).toMatch(/^cancel\t/m);
    const flags = await fleet.drover('complete', '--', 'server', '--listen-p');
    expect(flags.stdout).toMatch(/^--listen-port\t/m);
  });
});

describe('what is wrong', () => {
  test.each([
    ['a command', ['job', 'rum'], 2, /unknown command 'rum'[^]*Did you mean run\?[^]*commands: run, submit, list/],
    ['a flag', ['job', 'list', '--lmit', '3'], 2, /unknown option '--lmit'[^]*\(drover job list --help tells more\)/],
    ['a number', ['job', 'list', '--limit', 'many'], 2, /--limit is "many"; allowed are whole numbers from 1 to 500/],
    ['a state', ['job', 'list', '--state', 'done'], 2, /--state is "done"; allowed are waiting, running, succeeded/],
    ['an address', ['agents', '--server', 'there'], 2, /--server is "there"; allowed is a URL such as/],
    ['a file', ['job', 'run', 'absent.yaml'], 3, /absent\.yaml: there is no such file \(JOB_FILE_UNREADABLE\)/],
    ['a job', ['job', 'show', 'ffffffff'], 8, /no job "ffffffff".*\(JOB_NOT_FOUND\)/],
    ['a flag of an app', ['agent', '--server-urls', 'there'], 3, /server\.urls.* is no URL; allowed is http/],
  ])('in %s is named, with what is allowed', async (_, args, code, message) => {
    const isOfApp = args[0] === 'agent';
    const ended = await fleet.drover(
      ...args,
      ...(isOfApp || args.includes('--server') ? [] : ['--server', server.url]),
    );
    expect(ended).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(message) });
  });

  test('in a job file is named with file, line and what is allowed', async () => {
    const file = fleet.path('wrong.yaml');
    const step = '      - { name: s, exec: sh, timeout: 5 parsecs }';
    writeFileSync(file, `name: wrong\nbatches:\n  - name: b\n    steps:\n${step}\n`);
    const { code, stderr } = await drover('job', 'run', file);
    expect(code).toBe(3);
    expect(stderr).toContain(
      'wrong.yaml:5:20: batches[0].steps[0].exec is not known here; allowed are name, exe, args',
    );
    expect(stderr).toContain(
      'wrong.yaml:5:30: batches[0].steps[0].timeout is no duration; allowed is a number with one',
    );
    expect(stderr).toContain('(JOB_FILE_INVALID)');
  });

  test('with the server is that there is none', async () => {
    const { code, stderr } = await fleet.drover('job', 'list', '--server', 'http://127.0.0.1:1');
    expect(code).toBe(4);
    expect(stderr).toMatch(/no server can be reached: .*127\.0\.0\.1:1.*"drover up".*\(SERVER_UNREACHABLE\)/);
  });

  test('a follower that is interrupted says 130, and the job goes on', async () => {
    const file = fleet.jobFile('goes-on', { steps: { s: `touch ${fleet.path('on')}; ${fleet.waitFor('off')}` } });
    const running = fleet.start(['job', 'run', file, '--server', server.url]);
    const id = (await running.line(/submitted/)).split(' ')[1]!;
    await fleet.made('on');
    running.signal('SIGINT');
    const stderr = expect.stringContaining(`job ${id} goes on; "drover job cancel ${id}" stops it`);
    expect(await running.exited).toMatchObject({ code: 130, stderr });
    fleet.open('off');
    await until(async () => expect((await drover('job', 'show', id)).stdout).toContain('succeeded'));
  });
});
