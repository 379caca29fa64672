import { create } from '@bufbuild/protobuf';
import { CompileSchema, type Compile, type CompileAudit } from '@drover/compile-protocol';
import { newTaskTokenKey, privateKeyOf, signTaskToken, TaskTokenKeys } from '@drover/compile-tokens';
import { isDroverError } from '@drover/lease-kit';
import { builtAgent, debianProgram } from '@drover/sandbox-test-parts';
import {
  createSandboxPool,
  type PreparedImage,
  type Sandbox,
  type SandboxDriver,
  type SandboxPool,
} from '@drover/vm-runtime';
import { createNamespaceDriver } from '@drover/vm-runtime-namespace';
import { createUnsafeHostDriver } from '@drover/vm-runtime-unsafe-host';
import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { blake3Of } from '../blake3.ts';
import { CompileWorker } from './index.ts';

const signal = AbortSignal.timeout(120_000);
const agent = await builtAgent(signal);
const bubblewrap = await debianProgram('bwrap', 'bubblewrap', signal);
const isRoot = process.getuid?.() === 0;
const hasCompiler = existsSync('/usr/bin/gcc') && existsSync('/usr/bin/g++');
const imageDigest = `sha256:${'0'.repeat(64)}`;

const dir = mkdtempSync(join(tmpdir(), 'drover-compile-'));
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const key = newTaskTokenKey();
const keys = new TaskTokenKeys();
keys.replace([key]);

function token(claims: { tenantId?: string; workerId?: string; workerEpoch?: number; imageDigest?: string } = {}) {
  const nowMs = Date.now();
  const times = { issuedAtMs: nowMs, expiresAtMs: nowMs + 60_000 };
  return signTaskToken(
    { tenantId: 'acme', workerId: 'w1', workerEpoch: 7, imageDigest, tokenId: randomUUID(), ...times, ...claims },
    { keyId: key.keyId, key: privateKeyOf(key.privateJwk) },
  );
}

function compileOf(
  text: string | Buffer,
  args: string,
  more: { outputs?: string[]; paranoid?: boolean; compileId?: string } = {},
): Compile {
  const bytes = Buffer.from(text);
  return create(CompileSchema, {
    compileId: randomUUID(),
    imageDigest,
    arguments: args.split(' '),
    workingFolder: '/src',
    environment: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    source: {
      case: 'preprocessed',
      value: {
        content: zstdCompressSync(bytes),
        digest: blake3Of(bytes),
        sizeBytes: BigInt(bytes.byteLength),
        path: args.includes('main.ii') ? 'main.ii' : 'main.i',
      },
    },
    ...more,
  });
}

const gcc = 'gcc -c /src/main.i -o /out/main.o';

/** Those that were started, so that a test can end one. */
const sandboxes = new Map<string, Sandbox>();

interface Rig {
  readonly worker: CompileWorker;
  readonly pool: SandboxPool;
  readonly audits: CompileAudit[];
  compile(compile: Compile, signal?: AbortSignal): ReturnType<CompileWorker['compile']>;
  close(): Promise<void>;
}

async function rigOf(
  driver: SandboxDriver,
  bounds: { memoryBytes?: number; diskBytes?: number; compileMsMax?: number } = {},
) {
  const image: PreparedImage = await driver.prepareImage(
    { digest: imageDigest, folder: '/', entries: [], sizeBytes: 0 },
    signal,
  );
  const { memoryBytes = 512 * 1_024 ** 2, diskBytes = 256 * 1_024 ** 2, compileMsMax = 20_000 } = bounds;
  const start: SandboxDriver['start'] = async (spec, cancel) => {
    const sandbox = await driver.start(spec, cancel);
    sandboxes.set(spec.id, sandbox);
    return sandbox;
  };
  const pool = createSandboxPool(
    { sandboxesMax: 2, usesMax: 2, bounds: { vcpus: 2, processesMax: 64, memoryBytes, diskBytes } },
    { driver: Object.assign(Object.create(driver) as SandboxDriver, { start }) },
  );
  const audits: CompileAudit[] = [];
  const images = {
    use: async () => ({ image, release: () => undefined }),
    held: () => [{ digest: imageDigest }],
    advertised: () => [],
  };
  const worker = new CompileWorker(
    { workerId: 'w1', paranoid: false, slots: 4, compileMsMax },
    { pool, images, keys, epoch: () => 7, onCompiled: (audit) => audits.push(audit) },
  );
  return {
    worker,
    pool,
    audits,
    compile: async (compile, cancel = signal) =>
      worker.compile(compile, await worker.checkToken(await token()), cancel),
    close: async () => pool[Symbol.asyncDispose](),
  } satisfies Rig;
}

const drivers: [string, boolean, () => SandboxDriver | Promise<SandboxDriver>][] = [
  [
    'namespace',
    bubblewrap !== undefined && isRoot,
    () => createNamespaceDriver({ stateDir: join(dir, 'n'), agent: agent!, bubblewrap: bubblewrap!.path }),
  ],
  [
    'really_really_dangerous',
    true,
    () => createUnsafeHostDriver({ name: 'really_really_dangerous', stateDir: join(dir, 'u'), agent: agent! }),
  ],
];

for (const [name, canRun, createDriver] of drivers) {
  describe.skipIf(agent === undefined || !hasCompiler || !canRun)(
    `compiles in ${name} [limits:namespace-sandboxes]`,
    () => {
      let driver: SandboxDriver;
      let rig: Rig;
      beforeAll(async () => {
        driver = await createDriver();
        rig = await rigOf(driver);
      }, 60_000);
      afterAll(async () => {
        await rig?.close();
        await driver?.[Symbol.asyncDispose]();
      });

      test.each([
        ['gcc', 'main.i', 'int f(int x){return x*2;}\n'],
        [
          'g++',
          'main.ii',
          '#include <vector>\nnamespace { struct A {}; }\nstd::vector<int> v(3); A a() { return {}; }\n',
        ],
      ])('%s: the object is the local compile’s, with debug information', async (compiler, path, text) => {
        const here = mkdtempSync(join(dir, 'local-'));
        const source = compiler === 'gcc' ? 'a.c' : 'a.cc';
        writeFileSync(join(here, source), text);
        // Columns of what macros made are lost with them.
        const flags = ['-g', '-gno-column-info', '-O2'];
        const run = (args: string[]): Buffer =>
          execFileSync(compiler, args, { cwd: here, env: { PATH: '/usr/bin:/bin' } });
        run([...flags, '-c', source, '-o', 'a.o']);
        const preprocessed = run([...flags, '-E', source]);
        const line = `${compiler} ${flags.join(' ')} -c /src/${path} -o /out/a.o`;
        const results = await Promise.all([1, 2].map(() => rig.compile(compileOf(preprocessed, line))));
        for (const result of results) {
          expect(Buffer.from(result.stderr).toString()).toBe('');
          expect(result.outputs.map((output) => output.path)).toEqual(['a.o']);
          const object = zstdDecompressSync(result.outputs[0]!.content);
          expect(object.equals(readFileSync(join(here, 'a.o')))).toBe(true);
          expect(Buffer.from(result.outputs[0]!.digest).equals(blake3Of(object))).toBe(true);
          expect(result.audit).toMatchObject({ tenantId: 'acme', workerId: 'w1', driver: name, exitCode: 0 });
          expect(result.audit!.compilerDigest).toHaveLength(32);
        }
        expect(rig.worker.inFlight).toBe(0);
      });

      test('what the compiler says names the folders of the client; a failure is data', async () => {
        const warned = await rig.compile(
          compileOf('int f(){int x;return 0;}\n', `${gcc} -Wall -MMD -MF /out/main.d`, { outputs: ['/out/main.d'] }),
        );
        expect(warned.exitCode).toBe(0);
        expect(Buffer.from(warned.stderr).toString()).toContain('/src/main.i:1:13: warning: unused variable');
        expect(warned.outputs.map(({ path }) => path)).toEqual(['main.o', 'main.d'].slice(0, warned.outputs.length));
        const failed = await rig.compile(compileOf('int f( {\n', gcc));
        expect(failed).toMatchObject({ exitCode: 1, outputs: [] });
        expect(Buffer.from(failed.stderr).toString()).toMatch(/^\/src\/main\.i:1:8: error/m);
        expect(rig.audits.at(-1)).toMatchObject({ exitCode: 1, compileId: failed.audit!.compileId });
      });

      test('a cancelled compile is killed and leaves nothing', async () => {
        const cancel = new AbortController();
        const slow = rig.compile(compileOf(slowSource, `${gcc} -O3`), cancel.signal);
        await expect.poll(() => rig.pool.list().some(({ uses }) => uses > 0)).toBe(true);
        expect(rig.worker.inFlight).toBe(1);
        cancel.abort(new Error('the client went away'));
        await expect(slow).rejects.toThrow('the client went away');
        expect(rig.worker.inFlight).toBe(0);
        expect(rig.pool.list().every(({ uses }) => uses === 0)).toBe(true);
      });

      test('tokens: once, for this image, and none before the first authentication', async () => {
        const claims = await rig.worker.checkToken(await token());
        await rig.worker.compile(compileOf('int a;', gcc), claims, signal);
        const refusals: [() => Promise<unknown>, string][] = [
          [() => rig.worker.compile(compileOf('int a;', gcc), claims, signal), 'TASK_TOKEN_USED'],
          [async () => rig.worker.checkToken(await token({ workerId: 'w2' })), 'TASK_TOKEN_INVALID'],
          [async () => rig.worker.checkToken(await token({ workerEpoch: 6 })), 'TASK_TOKEN_VOID'],
          [async () => rig.worker.checkToken(`${await token()}x`), 'TASK_TOKEN_INVALID'],
          [
            () => rig.compile({ ...compileOf('int a;', gcc), imageDigest: `sha256:${'1'.repeat(64)}` }),
            'COMPILE_TOKEN_OTHER_IMAGE',
          ],
          [() => rig.compile(compileOf('int a;', gcc, { paranoid: true })), 'COMPILE_PARANOIA_DIFFERS'],
          [() => rig.compile(compileOf('int a;', 'gcc-0.1 -c /src/main.i -o /out/a.o')), 'COMPILER_NOT_FOUND'],
          [() => rig.compile(compileOf('int a;', gcc, { compileId: '../x' })), 'COMPILE_INVALID'],
          [() => rig.compile(withWrongDigest(compileOf('int a;', gcc))), 'COMPILE_SOURCE_DIGEST_WRONG'],
        ];
        for (const [refused, code] of refusals) {
          await expect(refused()).rejects.toSatisfy((error) => isDroverError(error, code));
        }
        expect(rig.worker.inFlight).toBe(0);
        const unknown = new CompileWorker(
          { workerId: 'w1', paranoid: false, slots: 1, compileMsMax: 1_000 },
          {
            pool: rig.pool,
            images: { use: () => Promise.reject(new Error()), held: () => [], advertised: () => [] },
            keys: new TaskTokenKeys(),
            epoch: () => undefined,
          },
        );
        await expect(unknown.checkToken(await token())).rejects.toSatisfy((error) =>
          isDroverError(error, 'SIGNING_KEYS_MISSING'),
        );
      });
    },
  );
}

/** Keeps the optimizer busy for long. */
const slowSource = `${Array.from({ length: 4_000 }, (_, i) => `int f${i}(int a,int b){int s=0;for(int i=0;i<a;i++)for(int j=0;j<b;j++)s+=i*j^${i};return s;}`).join('\n')}\n`;

function withWrongDigest(compile: Compile): Compile {
  if (compile.source.case === 'preprocessed') compile.source.value.digest = new Uint8Array(32);
  return compile;
}

describe.skipIf(agent === undefined || !hasCompiler || bubblewrap === undefined || !isRoot)(
  'compiles that go too far [limits:namespace-sandboxes]',
  () => {
    // Below /usr, where images have their compilers; programs of the test stand in for a compiler that has gone bad.
    let bin: string;
    let driver: SandboxDriver;
    beforeAll(async () => {
      bin = mkdtempSync('/usr/local/lib/drover-test-');
      driver = await createNamespaceDriver({ stateDir: join(dir, 'b'), agent: agent!, bubblewrap: bubblewrap!.path });
    }, 60_000);
    afterAll(async () => {
      await driver?.[Symbol.asyncDispose]();
      rmSync(bin, { recursive: true, force: true });
    });

    function program(name: string, script: string): string {
      const folder = join(bin, name);
      mkdirSync(folder);
      writeFileSync(join(folder, 'gcc'), `#!/bin/sh\ncase "$1" in -print-prog*) exit 1;; esac\n${script}\n`);
      chmodSync(join(folder, 'gcc'), 0o755);
      return `${folder}/gcc -c /src/main.i -o /out/main.o`;
    }

    test.each([
      ['memory', 'COMPILE_OUT_OF_MEMORY', 'exec /usr/bin/perl -e \'my @a; push @a, "x" x 1000000 while 1\''],
      ['disk', 'COMPILE_SANDBOX_FULL', 'dd if=/dev/zero of=$TMPDIR/x bs=1M'],
      ['forks', 'COMPILE_', 'f() { f | f & }; f; sleep 60'],
      ['words', 'COMPILE_OUTPUT_TOO_LARGE', 'exec yes'],
    ])('a bomb of %s ends as %s, and the next compile is well', { timeout: 60_000 }, async (name, code, script) => {
      const rig = await rigOf(driver, {
        compileMsMax: 3_000,
        memoryBytes: 256 * 1_024 ** 2,
        diskBytes: 64 * 1_024 ** 2,
      });
      try {
        if (name !== 'lost') {
          await expect(rig.compile(compileOf('int a;', program(name, script)))).rejects.toSatisfy(
            (error) => isDroverError(error) && error.code.startsWith(code),
          );
        } else {
          // The driver ends the sandbox under the compile.
          const lost = rig.compile(compileOf('int a;', program('time-2', 'exec sleep 60')));
          await expect.poll(() => rig.pool.list().some(({ uses }) => uses > 0)).toBe(true);
          await Promise.all([rig.close(), expect(lost).rejects.toSatisfy((error) => isDroverError(error))]);
          return;
        }
        expect(rig.worker.inFlight).toBe(0);
        expect(rig.audits.at(-1)).toMatchObject({ exitCode: -1 });
        expect(await rig.compile(compileOf('int a;', gcc))).toMatchObject({ exitCode: 0 });
      } finally {
        await rig.close();
      }
    });

    test('a sandbox that dies in the middle ends its compiles alone', { timeout: 60_000 }, async () => {
      const rig = await rigOf(driver);
      try {
        const lost = rig.compile(compileOf('int a;', program('sleeper', 'exec sleep 60')));
        const ended = expect(lost).rejects.toSatisfy((error) => isDroverError(error, 'COMPILE_SANDBOX_LOST'));
        const isAsleep = () => /^ *sleep 60$/m.test(execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }));
        await expect.poll(isAsleep, { timeout: 10_000 }).toBe(true);
        const [{ id } = { id: '' }] = rig.pool.list();
        await sandboxes.get(id)!.stop();
        await ended;
        expect(rig.worker.inFlight).toBe(0);
        expect(await rig.compile(compileOf('int a;', gcc))).toMatchObject({ exitCode: 0 });
      } finally {
        await rig.close();
      }
    });
  },
);
