import { messageOf, type Logger } from '@drover/lease-kit';
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { getSystemErrorName } from 'node:util';
import { markerOf, markerValue, processKeyVariable } from './process-marker.ts';
import { startFailureFrom } from './process-request.ts';
import type { ProcessSpawner, SpawnListener, SpawnRequest } from './process-spawner.ts';
import { spawnHelperScript } from './spawn-helper-script.ts';
import { spawnHelperKey } from './stray-sweep.ts';

/** Who makes a spawn helper. */
export interface SpawnHelperDeps {
  readonly logger: Logger;
  /** The state folder's id: an old helper is known by it. */
  readonly runnerId: string;
}

/** Where Perl is looked for: it comes with the base system nearly everywhere. */
const interpreters = ['/usr/bin/perl', '/usr/local/bin/perl', '/bin/perl'];

/** The interpreter that the helper runs in; undefined where there is none. */
export function findSpawnHelperInterpreter(): string | undefined {
  return process.platform === 'win32' ? undefined : interpreters.find((path) => existsSync(path));
}

interface Waiting {
  readonly request: SpawnRequest;
  readonly listener: SpawnListener;
  hasFailed: boolean;
}

/**
 * Starts processes from a small process beside this one. A fork copies the page tables of its parent: from an agent with
 * 200 MB that costs up to ten times what the process itself does, from one with 5 MB next to nothing. The helper
 * ends the process groups of its children when this process is gone, so that a killed agent leaves little behind. Should
 * the helper be ended by somebody, what it ran is told as lost, and the next start makes a new one.
 */
export class SpawnHelper implements ProcessSpawner {
  readonly #interpreter: string;
  readonly #deps: SpawnHelperDeps;
  readonly #waiting = new Map<string, Waiting>();
  readonly #fifos = new Map<string, { resolve(): void; reject(error: unknown): void; path: string }>();
  #child: ChildProcess | undefined;
  #ended: Promise<void> = Promise.resolve();
  #batch: Buffer[] = [];
  #tail = '';
  #next = 0;

  constructor(interpreter: string, deps: SpawnHelperDeps) {
    this.#interpreter = interpreter;
    this.#deps = deps;
  }

  start(request: SpawnRequest, listener: SpawnListener): void {
    const id = String(this.#next++);
    this.#waiting.set(id, { request, listener, hasFailed: false });
    const { cwd, outputPath, exe, args, env } = request;
    const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
    this.#send(['s', id, cwd, outputPath, exe, String(args.length), ...args, ...variables]);
  }

  makeFifo(path: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const id = String(this.#next++);
      this.#fifos.set(id, { resolve, reject, path });
      this.#send(['m', id, path]);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child?.stdin?.end();
    await this.#ended;
  }

  /** What is sent within one turn goes in one write. */
  #send(fields: readonly string[]): void {
    const child = (this.#child ??= this.#launch());
    if (this.#batch.push(encode(fields)) > 1) return;
    queueMicrotask(() => {
      const bytes = Buffer.concat(this.#batch);
      this.#batch = [];
      child.stdin?.write(bytes);
    });
  }

  #launch(): ChildProcess {
    const marker = markerValue(markerOf(this.#deps.runnerId, spawnHelperKey), process.env[processKeyVariable]);
    const child = spawn(this.#interpreter, ['-e', spawnHelperScript], {
      cwd: '/',
      env: { PATH: '/usr/bin:/bin', [processKeyVariable]: marker },
      stdio: ['pipe', 'pipe', 'ignore'],
      detached: true,
    });
    this.#ended = new Promise((resolve) => {
      const gone = (why: string): void => {
        if (this.#child === child) {
          this.#child = undefined;
          this.#lose(why);
        }
        resolve();
      };
      child.once('error', (error) => gone(messageOf(error)));
      // 'close' rather than 'exit': what it said last has been read by then.
      child.once('close', (code, signal) => gone(signal ?? `exit code ${code}`));
    });
    child.stdin?.on('error', () => undefined);
    child.stdout?.setEncoding('latin1').on('data', (text: string) => this.#read(text));
    return child;
  }

  #lose(why: string): void {
    this.#tail = '';
    const lost = [...this.#waiting.values()];
    this.#waiting.clear();
    if (lost.length > 0) this.#deps.logger.error({ why, lost: lost.length }, 'the helper that starts processes ended');
    for (const { listener } of lost) listener.onLost();
    for (const { reject } of this.#fifos.values()) reject(new Error('the helper that starts processes ended'));
    this.#fifos.clear();
  }

  #read(text: string): void {
    const lines = (this.#tail + text).split('\n');
    this.#tail = lines.pop() ?? '';
    for (const line of lines) this.#told(line.split(' '));
  }

  #told([what, id = '', first = '', second = '']: string[]): void {
    if (what === 'm') {
      const fifo = this.#fifos.get(id);
      this.#fifos.delete(id);
      if (first === '0') fifo?.resolve();
      else fifo?.reject(errnoError(Number(first), fifo.path));
      return;
    }
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return;
    const { request, listener } = waiting;
    if (what === 's') return listener.onStart(Number(first), Number(second));
    if (what === 'f') {
      // What forked and failed ends as well, which is told by a line of its own that says nothing more.
      waiting.hasFailed = true;
      if (first === 'fork') this.#waiting.delete(id);
      const error = errnoError(Number(second), first === 'output' ? request.outputPath : request.exe);
      return listener.onFailure(startFailureFrom(request, error));
    }
    this.#waiting.delete(id);
    if (!waiting.hasFailed) listener.onEnd(exitFrom(Number(first)));
  }
}

/** A message: its length, then fields that are each a length and as many bytes. */
function encode(fields: readonly string[]): Buffer {
  const sizes = fields.map((field) => Buffer.byteLength(field));
  const size = sizes.reduce((sum, one) => sum + 4 + one, 0);
  const bytes = Buffer.allocUnsafe(4 + size);
  let at = bytes.writeUInt32BE(size, 0);
  for (const [index, field] of fields.entries()) {
    at = bytes.writeUInt32BE(sizes[index]!, at);
    at += bytes.write(field, at);
  }
  return bytes;
}

function errnoError(errno: number, path: string): NodeJS.ErrnoException {
  const code = errno > 0 ? getSystemErrorName(-errno) : 'EIO';
  return Object.assign(new Error(`${code}: ${path}`), { code, errno: -errno, path });
}

/** The status of waitpid(2). */
function exitFrom(status: number): { readonly exitCode: number } | { readonly signal: NodeJS.Signals } {
  const number = status & 0x7f;
  if (number === 0) return { exitCode: (status >> 8) & 0xff };
  const name = Object.entries(constants.signals).find(([, value]) => value === number)?.[0];
  return { signal: (name ?? `SIG${number}`) as NodeJS.Signals };
}
