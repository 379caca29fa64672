import { debianProgram } from '@drover/sandbox-test-parts';
import fc from 'fast-check';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Duplex } from 'node:stream';
import { afterAll, describe, expect, test } from 'vitest';
import { encodeFrame, FrameReader, frameType, uint32 } from './guest-frames.ts';

const native = resolve(import.meta.dirname, '../native');
const folder = mkdtempSync(join(tmpdir(), 'drover-fuzz-'));
const agent = join(folder, 'agent');
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const bubblewrap = await debianProgram('bwrap', 'bubblewrap', AbortSignal.timeout(60_000));
const runs = Number(process.env['DROVER_FUZZ_RUNS'] ?? 60);

/** The agent with every access to memory checked. False where the compiler or its checks are not there. */
function isBuilt(): boolean {
  const sources = readdirSync(native).filter((name) => name.endsWith('.c'));
  const checks = ['-fsanitize=address,undefined', '-fno-sanitize-recover=all', '-g', '-O1', '-std=gnu17'];
  return spawnSync('gcc', [...checks, '-o', agent, ...sources], { cwd: native, stdio: 'ignore' }).status === 0;
}

/** Some of them nearly right: what is all wrong is refused early. */
const path = fc.oneof(
  fc.constantFrom('/tmp/a', '/tmp/a/b', '/run/drover/x', '/run/drover', '/tmp/../etc', '/tmp//a', '/tmp/', 'tmp', ''),
  fc.string({ maxLength: 40 }).map((text) => `/tmp/${text}`),
);
const pathPayload = path.map((text) => Buffer.from(`${text}\0`));
const program = fc
  .tuple(
    fc.nat(4),
    fc.nat(4),
    fc.array(fc.constantFrom('/', '/bin/true', 'true', 'cat', 'A=1', '', 'x'.repeat(300)), { maxLength: 8 }),
  )
  .map(([argc, envc, texts]) =>
    Buffer.concat([
      Buffer.from([0]),
      uint32(argc),
      uint32(envc),
      Buffer.from(texts.map((text) => `${text}\0`).join('')),
    ]),
  );
const payloads: Readonly<Record<number, fc.Arbitrary<Uint8Array>>> = {
  [frameType.exec]: program,
  [frameType.put]: pathPayload.map((bytes) => Buffer.concat([uint32(0o644), bytes])),
  [frameType.makeFolder]: pathPayload.map((bytes) => Buffer.concat([uint32(0o755), bytes])),
  [frameType.get]: pathPayload.map((bytes) => Buffer.concat([Buffer.alloc(8, 1), bytes])),
  [frameType.remove]: pathPayload,
  [frameType.grant]: fc.integer({ min: 0, max: 0xffff_ffff }).map(uint32),
  [frameType.signal]: fc.integer({ min: 1, max: 31 }).map(uint32),
  [frameType.hello]: fc.constant(Buffer.alloc(20)),
  [frameType.stdin]: fc.uint8Array({ maxLength: 3_000 }),
  [frameType.putData]: fc.uint8Array({ maxLength: 3_000 }),
};
const frame = fc
  .tuple(
    fc.constantFrom(...Object.keys(payloads).map(Number), 0x25, 0x30, 0x32),
    fc.integer({ min: 1, max: 4 }),
    fc.nat(9),
  )
  .chain(([type, channel, wrong]) =>
    (wrong === 0 ? fc.uint8Array({ maxLength: 60 }) : (payloads[type] ?? fc.constant(new Uint8Array(0)))).map(
      (payload) => encodeFrame(type, channel, payload),
    ),
  );

describe.skipIf(bubblewrap === undefined || !isBuilt())('the agent [limits:namespace-sandboxes]', () => {
  test(
    'survives or hangs up on whatever a host says, without a wrong access to memory',
    { timeout: 600_000 },
    async () => {
      await fc.assert(
        fc.asyncProperty(fc.array(frame, { maxLength: 80 }), fc.uint8Array({ maxLength: 20 }), async (frames, tail) => {
          const sandbox = [
            '--unshare-all',
            '--die-with-parent',
            '--ro-bind',
            '/',
            '/',
            '--proc',
            '/proc',
            '--dev',
            '/dev',
          ];
          const folders = ['--tmpfs', '/tmp', '--ro-bind', folder, '/tmp/f', '--tmpfs', '/run', '--dir', '/run/drover'];
          const child = spawn(bubblewrap!.path, [...sandbox, ...folders, '/tmp/f/agent', 'fd:3'], {
            stdio: ['ignore', 'ignore', 'pipe', 'pipe'],
            env: { ASAN_OPTIONS: 'detect_leaks=0' },
          });
          let errors = '';
          child.stderr!.on('data', (chunk: Buffer) => (errors += chunk.toString()));
          const stream = child.stdio[3] as unknown as Duplex;
          const reader = new FrameReader();
          stream.on('data', (chunk: Buffer) => void [...reader.take(chunk)]);
          stream.on('error', () => undefined);
          const closed = once(child, 'close');
          stream.write(Buffer.concat([...frames, tail]));
          stream.end();
          const [code] = (await closed) as [number | null];
          expect({ code, errors }).toEqual({ code: 0, errors: '' });
        }),
        { numRuns: runs },
      );
    },
  );
});
