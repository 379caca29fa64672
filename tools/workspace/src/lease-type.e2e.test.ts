import { createTestDatabase } from '@drover/postgres-embedded/testing';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { WorkspaceCopy } from './workspace-copy.test.fixture.ts';

const root = join(import.meta.dirname, '../../..');
const bin = join(root, 'node_modules/.bin');
const packageDir = 'packages/lease-type-render-frame';

/** What a contributor fills in. */
const check = `import { DroverError } from '@drover/lease-kit';
import type { RenderFrame } from '../gen/drover/render_frame/v1/render_frame_pb.ts';

export function checkRenderFrame({ name }: RenderFrame): void {
  if (name !== '') return;
  throw new DroverError({ code: 'RENDER_FRAME_INVALID', advice: 'fix-input', message: 'a frame needs a name' });
}
`;
const handler = `import { create } from '@bufbuild/protobuf';
import { delay, type LeaseHandler } from '@drover/lease-kit';
import { RenderFrameResultSchema, type RenderFrameSchema } from '../gen/drover/render_frame/v1/render_frame_pb.ts';
import { leaseType } from '../render-frame-lease-type.ts';

export function createRenderFrameHandler(): LeaseHandler<typeof RenderFrameSchema, typeof RenderFrameResultSchema> {
  return {
    type: leaseType,
    async run({ name }, { clock, progress, signal }) {
      while (name === 'endless' && !signal.aborted) await delay(clock, 1_000, signal);
      if (signal.aborted) return { kind: 'cancelled', code: 'STOPPED', message: 'as asked' };
      progress(100);
      return { kind: 'completed', output: create(RenderFrameResultSchema, { message: 'rendered ' + name }) };
    },
  };
}
`;

test('nx g @drover/workspace:lease-type writes a package that type-checks, fails until it is filled in, and runs a lease then', async ({
  signal,
}) => {
  using copy = new WorkspaceCopy();
  const run = (program: string, ...args: string[]) => runToEnd(start(copy.dir, program, args, signal));
  const tests = () => run('vitest', 'run', '--root', copy.dir);

  const generated = await run('nx', 'g', '@drover/workspace:lease-type', 'render-frame', '--skipInstall');
  expect(generated, generated.output).toMatchObject({ status: 0 });
  copy.link('lease-type-render-frame');
  expect(readFileSync(join(copy.dir, 'docs/ARCHITECTURE.md'), 'utf8')).toMatch(
    /^\| lease type +\| lease-type-render-frame +\| Fill in: one sentence\. +\|$/m,
  );
  expect(await run('tsc', '--noEmit', '-p', packageDir)).toEqual({ status: 0, output: '' });

  const unfilled = await tests();
  expect(unfilled.status).toBe(1);
  expect(unfilled.output).toContain('Fill in run() (src/lease-handler/render-frame-handler.ts)');
  expect(unfilled.output).toContain('Fill in checkRenderFrame (src/task-source/check-render-frame.ts)');

  copy.write(`${packageDir}/src/task-source/check-render-frame.ts`, check);
  copy.write(`${packageDir}/src/lease-handler/render-frame-handler.ts`, handler);
  const filled = await tests();
  expect(filled, filled.output).toMatchObject({ status: 0 });

  await using database = await createTestDatabase();
  const drover = (...args: string[]) => start(copy.dir, 'node', [...source, ...args], signal, database.url);
  const types = ['--lease-types', '@drover/lease-type-render-frame'];
  const server = drover('server', '--access-development', '--listen-port=0', '--state-dir=server', ...types);
  await using parts = new AsyncDisposableStack();
  parts.defer(() => end(server));
  const [{ url }] = (await once(server, 'message', { signal })) as [{ readonly url: string }];
  const agent = drover('agent', '--server-urls', url, '--state-dir=agent', ...types);
  parts.defer(() => end(agent));
  copy.write('frame.json', '{ "name": "the lake" }');
  const submit = ['submit', '@drover/lease-type-render-frame', 'frame.json', '--server', url, '--wait'];
  const submitted = await runToEnd(drover(...submit));
  expect(submitted, submitted.output).toMatchObject({ status: 0 });
  expect(submitted.output).toContain('"message": "rendered the lake"');
  copy.write('wrong.json', '{}');
  const wrong = await runToEnd(drover('submit', '@drover/lease-type-render-frame', 'wrong.json', '--server', url));
  expect(wrong).toMatchObject({ status: 3, output: expect.stringContaining('RENDER_FRAME_INVALID') as string });
}, 240_000);

const source = ['--conditions=@drover/source', join(root, 'apps/cli/src/main.ts')];

function start(cwd: string, program: string, args: readonly string[], signal: AbortSignal, databaseUrl?: string) {
  const { PATH = '', HOME = cwd } = process.env;
  const quiet = {
    NO_COLOR: '1',
    NX_DAEMON: 'false',
    NX_TUI: 'false',
    NX_NO_CLOUD: 'true',
    NX_ISOLATE_PLUGINS: 'false',
  };
  return spawn(program === 'node' ? process.execPath : join(bin, program), args, {
    cwd,
    env: {
      PATH: `${bin}:${PATH}`,
      HOME,
      ...quiet,
      ...(databaseUrl === undefined ? {} : { DATABASE_URL: databaseUrl }),
    },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    signal,
  });
}

async function runToEnd(child: ChildProcess): Promise<{ readonly status: number | null; readonly output: string }> {
  let output = '';
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text: string) => (output += text));
  }
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, output };
}

/** SIGTERM twice, which stops at once. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'close');
  child.stdout!.resume();
  child.stderr!.resume();
  child.kill('SIGTERM');
  child.kill('SIGTERM');
  await ended;
}
