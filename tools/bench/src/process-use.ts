import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';

/** What this process uses. */
export interface ProcessUse {
  /** Resident memory, by the kernel's count. */
  readonly rssKb: number;
  readonly heapUsedKb: number;
  readonly externalKb: number;
  /** Processor time since the start, user and system. */
  readonly cpuMs: number;
}

/**
 * Measures this process. With `collectsGarbage` (needs `--expose-gc`) it first collects, several times with pauses, so that
 * what only waits to be collected is not counted, and the allocator has returned what it can.
 */
export async function processUse(options: { readonly collectsGarbage: boolean }): Promise<ProcessUse> {
  if (options.collectsGarbage) {
    if (globalThis.gc === undefined) throw new Error('run it with --expose-gc');
    for (let round = 0; round < 4; round += 1) {
      globalThis.gc();
      await sleep(250);
    }
  }
  const status = await readFile('/proc/self/status', 'utf8').catch(() => '');
  const rssKb = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? process.memoryUsage.rss() / 1024);
  const { heapUsed, external } = process.memoryUsage();
  const { user, system } = process.cpuUsage();
  return { rssKb, heapUsedKb: heapUsed / 1024, externalKb: external / 1024, cpuMs: (user + system) / 1000 };
}
