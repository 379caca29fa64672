import type { Sandbox, SandboxEnd } from './sandbox.ts';
import type { SandboxDriver, SandboxSpec } from './sandbox-driver.ts';
import type { PreparedImage } from './sandbox-image.ts';

/** A sandbox that only exists; it refuses to be stopped while somebody has said that it is used. */
export interface CountedSandbox extends Sandbox {
  readonly spec: SandboxSpec;
  die(): void;
}

/** A driver whose sandboxes are counted: `live` are those that have started and whose stop is not complete. */
export class CountingDriver implements SandboxDriver {
  readonly name = 'counting';
  readonly isolation = { level: 'none', driver: 'counting', facts: {} } as const;
  readonly imageForm = 'none';
  readonly snapshots = false;
  readonly live = new Set<CountedSandbox>();
  /** Most at once, those that start and stop included. */
  peak = 0;
  starts = 0;
  failing = false;
  #slow = 0;
  #pending = 0;

  /** Starts and stops take so many turns. */
  constructor(turns = 0) {
    this.#slow = turns;
  }

  prepareImage(): Promise<PreparedImage> {
    throw new Error('not asked for');
  }
  async removeImage(): Promise<void> {}
  async recover(): Promise<[]> {
    return [];
  }
  async [Symbol.asyncDispose](): Promise<void> {}

  async start(spec: SandboxSpec, signal: AbortSignal): Promise<CountedSandbox> {
    this.starts += 1;
    this.#pending += 1;
    this.#count();
    await this.#turns();
    this.#pending -= 1;
    if (this.failing || signal.aborted) throw new Error('it does not start');
    const ended = Promise.withResolvers<SandboxEnd>();
    const end = async (cause: SandboxEnd['cause']): Promise<void> => {
      await this.#turns();
      this.live.delete(sandbox);
      ended.resolve({ cause, message: cause });
    };
    const sandbox = {
      id: spec.id,
      spec,
      isolation: this.isolation,
      workFolder: '/run/drover',
      ended: ended.promise,
      stop: () => end('stopped'),
      die: () => void end('died'),
      [Symbol.asyncDispose]: () => end('stopped'),
    } as unknown as CountedSandbox;
    this.live.add(sandbox);
    this.#count();
    return sandbox;
  }

  #count(): void {
    this.peak = Math.max(this.peak, this.live.size + this.#pending);
  }

  async #turns(): Promise<void> {
    for (let n = 0; n < this.#slow; n += 1) await Promise.resolve();
  }
}

/** An image of that name. */
export function imageOf(name: string): PreparedImage {
  return { digest: `sha256:${name}`, driver: 'counting', sizeBytes: 0 };
}
