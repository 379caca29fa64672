import { appendFile, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { systemClock } from '../clock.ts';
import type { LeaseContext, StopReason } from '../lease-handler.ts';
import { silentLogger } from '../logger.ts';

/** A context to run a handler with in a test, on a real temporary folder. */
export interface TestLeaseContext extends AsyncDisposable {
  readonly context: LeaseContext;
  /** What the handler reported, oldest first. */
  readonly progress: readonly { readonly percent: number; readonly message: string }[];
  /** Names of the logs that the handler said it had completed. */
  readonly completedLogs: ReadonlySet<string>;
  /** How the handler has spoken of its process's end: nothing, `goingDown`, then `handOver`. */
  readonly leaving: 'no' | 'going-down' | 'handing-over';
  /** Asks the handler to stop, as an agent would. */
  stop(reason: StopReason): void;
}

/** Makes a context; `overrides` replaces parts of it. Disposing removes its folder. */
export async function createTestLeaseContext(overrides: Partial<LeaseContext> = {}): Promise<TestLeaseContext> {
  const folder = await mkdtemp(join(tmpdir(), 'drover-lease-context-'));
  const attemptDir = join(folder, 'attempt');
  await mkdir(attemptDir);
  const stop = new AbortController();
  const progress: { percent: number; message: string }[] = [];
  const completedLogs = new Set<string>();
  let leaving: TestLeaseContext['leaving'] = 'no';
  const context: LeaseContext = {
    leaseId: '00000000-0000-4000-8000-000000000001',
    attempt: 1,
    agentId: 'test-agent',
    attemptDir,
    signal: stop.signal,
    cancelGraceMs: 2_000,
    resources: { cores: 1 },
    bootId: 'test-boot',
    clock: systemClock,
    logger: silentLogger,
    progress: (percent, message = '') => void progress.push({ percent, message }),
    log(name) {
      const path = join(folder, 'logs', encodeURIComponent(name));
      const ready = mkdir(dirname(path), { recursive: true });
      return {
        path,
        write: async (data) => {
          await ready;
          await appendFile(path, data);
        },
        async *content() {
          await ready;
          yield await readFile(path).catch(() => new Uint8Array());
        },
        complete: async () => {
          await ready;
          completedLogs.add(name);
        },
      };
    },
    secrets: () => Promise.resolve(new Map()),
    goingDown: async () => {
      if (leaving === 'no') leaving = 'going-down';
    },
    handOver: () => {
      leaving = 'handing-over';
    },
    connected: async () => undefined,
    ...overrides,
  };
  await mkdir(join(folder, 'logs'));
  return {
    context,
    progress,
    completedLogs,
    get leaving() {
      return leaving;
    },
    stop: (reason) => stop.abort(reason),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}
