import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { isDroverError } from '@drover/lease-kit';
import type { ExecEnd, ExecRequest, Sandbox } from '../sandbox.ts';
import type { SandboxDriver, SandboxSpec } from '../sandbox-driver.ts';
import type { PreparedImage } from '../sandbox-image.ts';

/** What the cases work on. */
export interface SandboxSubject {
  readonly driver: SandboxDriver;
  /** Prepared by the driver; it has a POSIX shell and core utilities on `/bin:/usr/bin`. */
  readonly image: PreparedImage;
  /** How long a program that does nothing may take here, in ms: machines are emulated somewhere. Default 5,000. */
  readonly patienceMs?: number;
}

/** One thing that every driver does. `needs`: only drivers whose isolation has it, all but those of level `none`. */
export interface SandboxCase {
  readonly name: string;
  readonly needs?: 'isolation';
  run(subject: SandboxSubject): Promise<void>;
}

const mebibyte = 1024 * 1024;
const environment = { PATH: '/usr/bin:/bin' };

/** What one program wrote, and how it ended. */
interface Ran {
  readonly stdout: string;
  readonly stderr: string;
  readonly end: ExecEnd;
}

async function startIn({ driver, image }: SandboxSubject, spec: Partial<SandboxSpec> = {}): Promise<Sandbox> {
  const bounds = {
    vcpus: 1,
    memoryBytes: 256 * mebibyte,
    diskBytes: 64 * mebibyte,
    processesMax: 64,
    lifetimeMs: 600_000,
  };
  return driver.start({ id: randomUUID(), tenant: 'acme', image, ...bounds, ...spec }, new AbortController().signal);
}

async function run(sandbox: Sandbox, request: Partial<ExecRequest> & Pick<ExecRequest, 'arguments'>): Promise<Ran> {
  const exec = sandbox.exec(
    { environment, workingFolder: '/', timeoutMs: 60_000, ...request },
    new AbortController().signal,
  );
  const texts = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  for await (const { stream, bytes } of exec.output) texts[stream].push(bytes);
  const end = await exec.ended;
  return { stdout: Buffer.concat(texts.stdout).toString(), stderr: Buffer.concat(texts.stderr).toString(), end };
}

const shell = (sandbox: Sandbox, script: string, request: Partial<ExecRequest> = {}): Promise<Ran> =>
  run(sandbox, { ...request, arguments: ['/bin/sh', '-c', script] });

const rejectsWith = (promise: Promise<unknown>, code: string): Promise<void> =>
  assert.rejects(
    promise,
    (error) => isDroverError(error, code) || assert.fail(`${code} expected, got ${String(error)}`),
  );

async function collect(sandbox: Sandbox, path: string, sizeBytesMax = 64 * mebibyte): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  for await (const { path: found, content } of sandbox.get(path, sizeBytesMax, new AbortController().signal)) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of content) chunks.push(chunk);
    files.set(found, Buffer.concat(chunks));
  }
  return files;
}

/** What every {@link SandboxDriver} does. */
export const sandboxCases: readonly SandboxCase[] = [
  {
    name: 'runs programs and tells how they end',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const ran = await shell(sandbox, 'echo out; echo err >&2; exit 3');
      assert.deepEqual([ran.stdout, ran.stderr, ran.end.exitCode], ['out\n', 'err\n', 3]);
      assert.equal((await shell(sandbox, 'kill -9 $$')).end.signal, 'SIGKILL');
      const missing = await run(sandbox, { arguments: ['no-such-program'] });
      assert.equal(missing.end.cause, 'could-not-start');
      assert.equal(
        (await run(sandbox, { arguments: ['true'], workingFolder: '/nowhere' })).end.cause,
        'could-not-start',
      );
    },
  },
  {
    name: 'gives a program the environment of its request and nothing else',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const { stdout } = await run(sandbox, { arguments: ['/usr/bin/env'], environment: { A: '1', B: 'two words' } });
      assert.deepEqual(stdout.trim().split('\n').sort(), ['A=1', 'B=two words']);
    },
  },
  {
    name: 'carries input and output of any size and both ways at once',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const bytes = Buffer.alloc(3 * mebibyte, '0123456789abcdef');
      const input = (async function* () {
        for (let at = 0; at < bytes.length; at += 70_000) yield bytes.subarray(at, at + 70_000);
      })();
      const exec = sandbox.exec(
        { arguments: ['cat'], environment, workingFolder: '/', input },
        new AbortController().signal,
      );
      const chunks: Uint8Array[] = [];
      for await (const chunk of exec.output) chunks.push(chunk.bytes);
      assert.ok(Buffer.concat(chunks).equals(bytes));
      assert.equal((await exec.ended).exitCode, 0);
    },
  },
  {
    name: 'takes files and gives them back, with their permissions',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const { signal } = new AbortController();
      const at = (name: string): string => `${sandbox.workFolder}/a/${name}`;
      const big = Buffer.alloc(2 * mebibyte + 1, 'x');
      const script = Buffer.from('#!/bin/sh\necho "ran $1" > made\n');
      await sandbox.put(
        [
          { path: at('run'), mode: 0o755, content: script },
          { path: at('deep/er/big'), mode: 0o644, content: big },
          { path: at('empty'), mode: 0o600, content: new Uint8Array(0) },
        ],
        signal,
      );
      const ran = await run(sandbox, { arguments: ['./run', 'well'], workingFolder: `${sandbox.workFolder}/a` });
      assert.equal(ran.end.exitCode, 0, ran.stderr);
      await shell(sandbox, `ln -s /etc/passwd ${at('link')}`);
      const files = await collect(sandbox, `${sandbox.workFolder}/a`);
      assert.deepEqual([...files.keys()].sort(), [at('deep/er/big'), at('empty'), at('made'), at('run')]);
      assert.ok(files.get(at('deep/er/big'))!.equals(big));
      assert.equal(files.get(at('made'))!.toString(), 'ran well\n');
      await rejectsWith(collect(sandbox, `${sandbox.workFolder}/a`, 1000), 'FILES_TOO_LARGE');
      await rejectsWith(collect(sandbox, at('none')), 'FILE_NOT_FOUND');
      await sandbox.remove(`${sandbox.workFolder}/a`, signal);
      await rejectsWith(collect(sandbox, `${sandbox.workFolder}/a`), 'FILE_NOT_FOUND');
    },
  },
  {
    name: 'leaves a get that its reader gives up, and goes on',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const { signal } = new AbortController();
      await sandbox.put([{ path: `${sandbox.workFolder}/f`, mode: 0o644, content: Buffer.alloc(mebibyte) }], signal);
      for (let n = 0; n < 40; n += 1) {
        for await (const _ of sandbox.get(`${sandbox.workFolder}/f`, mebibyte, signal)) break;
      }
      assert.equal((await collect(sandbox, `${sandbox.workFolder}/f`)).size, 1);
    },
  },
  {
    name: 'takes no file outside the folders that may be written, through links neither',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const { signal } = new AbortController();
      const put = (path: string): Promise<void> =>
        sandbox.put([{ path, mode: 0o644, content: Buffer.from('x') }], signal);
      await shell(sandbox, `ln -s / ${sandbox.workFolder}/root; ln -s /etc/passwd ${sandbox.workFolder}/file`);
      for (const path of [
        '/etc/x',
        'x',
        `${sandbox.workFolder}/../x`,
        `${sandbox.workFolder}/root/x`,
        `${sandbox.workFolder}//x`,
      ]) {
        await rejectsWith(put(path), 'PATH_INVALID');
      }
      await rejectsWith(collect(sandbox, `${sandbox.workFolder}/root/etc/hostname`), 'PATH_INVALID');
      // A link in the file's own place is replaced, not followed.
      await put(`${sandbox.workFolder}/file`);
      assert.equal((await shell(sandbox, `cat ${sandbox.workFolder}/file`)).stdout, 'x');
    },
  },
  {
    name: 'ends a program with all that it has started, by time, signal and abort',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const script = 'trap "" TERM; (setsid sleep 987 &) ; sleep 987 & wait';
      const timedOut = await shell(sandbox, script, { timeoutMs: 300 });
      assert.equal(timedOut.end.cause, 'timed-out');
      const abort = new AbortController();
      const exec = sandbox.exec(
        { arguments: ['/bin/sh', '-c', script], environment, workingFolder: '/' },
        abort.signal,
      );
      abort.abort();
      assert.equal((await exec.ended).signal, 'SIGKILL');
      const asked = sandbox.exec(
        { arguments: ['sleep', '987'], environment, workingFolder: '/' },
        new AbortController().signal,
      );
      asked.signal('SIGTERM');
      assert.equal((await asked.ended).signal, 'SIGTERM');
      // Also what it leaves behind when it ends by itself.
      await shell(sandbox, '(setsid sleep 987 &) ; exit 0');
      const { stdout } = await shell(sandbox, 'cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" " "');
      if (sandbox.isolation.level !== 'none') assert.ok(!stdout.includes('sleep 987'), stdout);
    },
  },
  {
    name: 'ends a program that writes too much',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const ran = await shell(sandbox, 'while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; done', {
        outputBytesMax: 100_000,
      });
      assert.equal(ran.end.cause, 'output-too-large');
      assert.ok(ran.stdout.length <= 100_000);
    },
  },
  {
    name: 'runs several programs at once',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const ran = await Promise.all(Array.from({ length: 8 }, (_, n) => shell(sandbox, `echo ${n}; exit ${n}`)));
      assert.deepEqual(
        ran.map(({ stdout, end }) => [stdout.trim(), end.exitCode]),
        Array.from({ length: 8 }, (_, n) => [String(n), n]),
      );
    },
  },
  {
    name: 'refuses requests that make no sense',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const { signal } = new AbortController();
      const attempt = async (request: Partial<ExecRequest>): Promise<void> => {
        const exec = sandbox.exec({ arguments: ['true'], environment, workingFolder: '/', ...request }, signal);
        await exec.ended;
      };
      await rejectsWith(attempt({ arguments: [] }), 'EXEC_INVALID');
      await rejectsWith(attempt({ arguments: ['a\0b'] }), 'EXEC_INVALID');
      await rejectsWith(attempt({ workingFolder: 'here' }), 'EXEC_INVALID');
      await rejectsWith(attempt({ environment: { 'A=B': '' } }), 'EXEC_INVALID');
    },
  },
  {
    name: 'is gone when it is stopped: programs end, calls are refused',
    async run(subject) {
      const sandbox = await startIn(subject);
      const exec = sandbox.exec(
        { arguments: ['sleep', '987'], environment, workingFolder: '/' },
        new AbortController().signal,
      );
      await Promise.all([sandbox.stop(), sandbox.stop()]);
      assert.equal((await exec.ended).cause, 'sandbox-gone');
      assert.equal((await sandbox.ended).cause, 'stopped');
      await rejectsWith(shell(sandbox, 'true'), 'SANDBOX_GONE');
      await rejectsWith(collect(sandbox, sandbox.workFolder), 'SANDBOX_GONE');
    },
  },
  {
    name: 'ends when it is as old as it may be',
    async run(subject) {
      const sandbox = await startIn(subject, { lifetimeMs: 500 });
      assert.equal((await sandbox.ended).cause, 'lifetime');
      await rejectsWith(shell(sandbox, 'true'), 'SANDBOX_GONE');
    },
  },
  {
    name: 'leaves nothing when its start is given up',
    async run(subject) {
      const abort = new AbortController();
      abort.abort(new Error('given up'));
      const spec = { id: randomUUID(), tenant: 'acme', image: subject.image, vcpus: 1, memoryBytes: 256 * mebibyte };
      const rest = { diskBytes: mebibyte, processesMax: 16, lifetimeMs: 1_000 };
      await assert.rejects(subject.driver.start({ ...spec, ...rest }, abort.signal), /given up/);
    },
  },
  {
    name: 'shows nothing of the host: no processes, no network, nothing to write to',
    needs: 'isolation',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const { stdout } = await shell(sandbox, 'cat /proc/[0-9]*/cmdline 2>/dev/null | tr "\\0" "\\n"');
      assert.ok(!stdout.includes('vitest'), stdout);
      const interfaces = await shell(sandbox, 'cat /proc/net/dev | tail -n +3 | cut -d: -f1');
      assert.ok(['', 'lo'].includes(interfaces.stdout.trim()), interfaces.stdout);
      for (const folder of ['/', '/etc', '/usr/bin', '/proc/sys/kernel', '/sys']) {
        const tried = await shell(sandbox, `echo x > ${folder}/drover-was-here`);
        assert.notEqual(tried.end.exitCode, 0, folder);
      }
      assert.notEqual((await shell(sandbox, 'mount -t tmpfs none /tmp')).end.exitCode, 0);
      assert.notEqual((await shell(sandbox, 'test "$(id -u)" = 0')).end.exitCode, 0);
    },
  },
  {
    name: 'bounds memory, and says that it was memory',
    needs: 'isolation',
    async run(subject) {
      await using sandbox = await startIn(subject);
      const eat = 'x=$(head -c 1000000 /dev/zero | tr "\\0" x); while :; do x=$x$x; done';
      const { end } = await shell(sandbox, eat);
      const gone = end.cause === 'sandbox-gone' ? (await sandbox.ended).cause : undefined;
      assert.ok(end.cause === 'out-of-memory' || gone === 'out-of-memory', JSON.stringify({ end, gone }));
      await using next = await startIn(subject);
      assert.equal((await shell(next, 'echo well')).stdout, 'well\n');
    },
  },
  {
    name: 'bounds processes: a bomb harms nobody else',
    needs: 'isolation',
    async run(subject) {
      await using sandbox = await startIn(subject);
      await using beside = await startIn(subject);
      const bomb = shell(sandbox, 'b() { b | b & }; b; sleep 2', { timeoutMs: 3_000 });
      assert.equal((await shell(beside, 'echo well')).stdout, 'well\n');
      await bomb;
      await sandbox.stop();
      assert.equal((await shell(beside, 'echo well')).stdout, 'well\n');
    },
  },
  {
    name: 'bounds what is written, and goes on when there is room again',
    needs: 'isolation',
    async run(subject) {
      await using sandbox = await startIn(subject, { diskBytes: 16 * mebibyte });
      const { signal } = new AbortController();
      const full = await shell(sandbox, `head -c 50000000 /dev/zero > ${sandbox.workFolder}/big`);
      assert.notEqual(full.end.exitCode, 0);
      const content = Buffer.alloc(20 * mebibyte);
      await rejectsWith(
        sandbox.put([{ path: `${sandbox.workFolder}/more`, mode: 0o644, content }], signal),
        'SANDBOX_DISK_FULL',
      );
      await shell(sandbox, `rm -f ${sandbox.workFolder}/big ${sandbox.workFolder}/more`);
      assert.equal(
        (await shell(sandbox, `echo well > ${sandbox.workFolder}/f; cat ${sandbox.workFolder}/f`)).stdout,
        'well\n',
      );
    },
  },
];
