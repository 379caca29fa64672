import { DroverError, messageOf, type Clock, type ScheduledCall } from '@drover/lease-kit';
import type { ExecEnd, ExecOutput, ExecRequest, SandboxExec } from '@drover/vm-runtime';
import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';
import type { GuestChannel, GuestListener } from './guest-channel.ts';
import { frameType, payloadBytesMax, type GuestFrame } from './guest-frames.ts';

const requestBytesMax = 1024 * 1024;
const outputBytesMaxDefault = 64 * 1024 * 1024;
/** Output that may be on its way or wait here. */
const windowBytes = 256 * 1024;

/** A request as the protocol has it. Throws `EXEC_INVALID`. */
export function checkRequest({ arguments: argv, environment, workingFolder }: ExecRequest): Buffer {
  const variables = Object.entries(environment);
  const wrong =
    argv.length === 0 || argv[0] === ''
      ? 'there is no program'
      : !workingFolder.startsWith('/')
        ? `the folder ${JSON.stringify(workingFolder)} is not absolute`
        : [workingFolder, ...argv, ...variables.flat()].some((text) => text.includes('\0'))
          ? 'a text holds a NUL'
          : variables.some(([name]) => name === '' || name.includes('='))
            ? 'the name of a variable is empty or holds a ='
            : argv.length + variables.length > 8_192
              ? `${argv.length + variables.length} arguments and variables; at most 8,192 are allowed`
              : undefined;
  if (wrong !== undefined) throw invalid(wrong);
  const head = Buffer.allocUnsafe(8);
  head.writeUInt32LE(argv.length, 0);
  head.writeUInt32LE(variables.length, 4);
  const texts = [workingFolder, ...argv, ...variables.map(([name, value]) => `${name}=${value}`)];
  const bytes = Buffer.concat([head, Buffer.from(texts.map((text) => `${text}\0`).join(''))]);
  if (bytes.length > requestBytesMax) throw invalid(`${bytes.length} bytes; at most ${requestBytesMax} are allowed`);
  return bytes;
}

/** A program in a sandbox, as its agent tells of it. */
export class GuestExec implements SandboxExec, GuestListener, AsyncIterable<ExecOutput> {
  readonly ended: Promise<ExecEnd>;
  readonly #end: (end: ExecEnd) => void;
  readonly #request: ExecRequest;
  readonly #clock: Clock;
  readonly #stopFeeding = new AbortController();
  #channel: GuestChannel | undefined;
  #waiting: ExecOutput[] = [];
  #reader: PromiseWithResolvers<void> | undefined;
  #outputBytes = 0;
  #ungrantedBytes = 0;
  #dropsOutput = false;
  #cause: ExecEnd['cause'];
  #over = false;
  #timer: ScheduledCall | undefined;
  #inputRoomBytes = windowBytes;
  #inputRoom: PromiseWithResolvers<void> | undefined;
  #inputFailed: string | undefined;
  #unlisten = (): void => undefined;

  constructor(request: ExecRequest, clock: Clock) {
    this.#request = request;
    this.#clock = clock;
    const { promise, resolve } = Promise.withResolvers<ExecEnd>();
    this.ended = promise;
    this.#end = resolve;
  }

  /** Sends the request; an abort of the signal kills it. */
  start(channel: GuestChannel, request: Buffer, signal: AbortSignal): void {
    this.#channel = channel;
    for (let at = 0; at < request.length; at += payloadBytesMax - 1) {
      const part = request.subarray(at, at + payloadBytesMax - 1);
      const more = at + part.length < request.length;
      void channel.send(frameType.exec, Uint8Array.of(more ? 1 : 0), part);
    }
    this.#grant(windowBytes);
    const onAbort = (): void => this.signal('SIGKILL');
    signal.addEventListener('abort', onAbort, { once: true });
    this.#unlisten = () => signal.removeEventListener('abort', onAbort);
    const { timeoutMs } = this.#request;
    if (timeoutMs !== undefined) this.#timer = this.#clock.schedule(timeoutMs, () => this.#kill('timed-out'));
    void this.#feed();
  }

  get output(): AsyncIterable<ExecOutput> {
    return this;
  }

  signal(name: 'SIGINT' | 'SIGTERM' | 'SIGKILL'): void {
    if (this.#over || this.#channel === undefined) return;
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeUInt32LE(constants.signals[name]);
    void this.#channel.send(frameType.signal, bytes);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ExecOutput> {
    try {
      for (;;) {
        const next = this.#waiting.shift();
        if (next !== undefined) {
          this.#taken(next.bytes.length);
          yield next;
        } else if (this.#over) {
          return;
        } else {
          this.#reader = Promise.withResolvers();
          await this.#reader.promise;
        }
      }
    } finally {
      // Nobody wants more: the program must not wait for it.
      this.#dropsOutput = true;
      for (const { bytes } of this.#waiting.splice(0)) this.#taken(bytes.length);
    }
  }

  frame({ type, payload }: GuestFrame): void {
    switch (type) {
      case frameType.output:
        return this.#output(payload[0] === 2 ? 'stderr' : 'stdout', Buffer.from(payload.subarray(1)));
      case frameType.stdinGrant:
        this.#inputRoomBytes += payload.readUInt32LE(0);
        this.#inputRoom?.resolve();
        return;
      case frameType.exit:
        return this.#finish(this.#endFrom(payload.readUInt32LE(0), payload.readInt32LE(4), payload.readUInt32LE(8)));
      case frameType.failed:
        return this.#finish(couldNotStart(payload.toString('utf8', 4)));
    }
  }

  gone(error: Error): void {
    this.#finish({
      exitCode: undefined,
      signal: undefined,
      cause: this.#cause ?? 'sandbox-gone',
      message: error.message,
    });
  }

  #endFrom(kind: number, value: number, outOfMemoryKills: number): ExecEnd {
    if (kind === 2) return couldNotStart(errorName(value));
    const exitCode = kind === 0 ? value : undefined;
    const signal = kind === 1 ? signalName(value) : undefined;
    const cause = this.#cause ?? (outOfMemoryKills > 0 && exitCode !== 0 ? 'out-of-memory' : undefined);
    return { exitCode, signal, cause, message: messages[cause ?? 'none'](this.#request) };
  }

  #output(stream: ExecOutput['stream'], bytes: Uint8Array): void {
    this.#outputBytes += bytes.length;
    if (this.#outputBytes > (this.#request.outputBytesMax ?? outputBytesMaxDefault)) {
      this.#kill('output-too-large');
      return this.#taken(bytes.length);
    }
    if (this.#dropsOutput) return this.#taken(bytes.length);
    this.#waiting.push({ stream, bytes });
    this.#reader?.resolve();
  }

  /** Grants anew in large pieces, so that a grant does not cost a frame a piece. */
  #taken(bytes: number): void {
    this.#ungrantedBytes += bytes;
    if (this.#ungrantedBytes < windowBytes / 4 || this.#over) return;
    this.#grant(this.#ungrantedBytes);
    this.#ungrantedBytes = 0;
  }

  #grant(bytes: number): void {
    const payload = Buffer.allocUnsafe(4);
    payload.writeUInt32LE(bytes);
    void this.#channel?.send(frameType.grant, payload);
  }

  #kill(cause: NonNullable<ExecEnd['cause']>): void {
    if (this.#over) return;
    this.#cause ??= cause;
    this.signal('SIGKILL');
  }

  async #feed(): Promise<void> {
    const channel = this.#channel!;
    const { signal } = this.#stopFeeding;
    try {
      for await (const chunk of this.#request.input ?? []) {
        for (let at = 0; at < chunk.length && !signal.aborted;) {
          while (this.#inputRoomBytes === 0 && !signal.aborted) {
            this.#inputRoom = Promise.withResolvers();
            await this.#inputRoom.promise;
          }
          if (signal.aborted) return;
          const part = chunk.subarray(at, at + Math.min(payloadBytesMax, this.#inputRoomBytes));
          at += part.length;
          this.#inputRoomBytes -= part.length;
          await channel.send(frameType.stdin, part);
        }
        if (signal.aborted) return;
      }
      await channel.send(frameType.stdin);
    } catch (error) {
      if (signal.aborted) return;
      this.#cause ??= 'could-not-start';
      this.#inputFailed = messageOf(error);
      this.signal('SIGKILL');
    }
  }

  #finish(end: ExecEnd): void {
    if (this.#over) return;
    this.#over = true;
    this.#timer?.cancel();
    this.#unlisten();
    this.#stopFeeding.abort();
    this.#inputRoom?.resolve();
    this.#reader?.resolve();
    this.#channel?.close();
    this.#end(this.#inputFailed === undefined ? end : { ...end, message: `its input failed: ${this.#inputFailed}` });
  }
}

const messages: Readonly<Record<NonNullable<ExecEnd['cause']> | 'none', (request: ExecRequest) => string>> = {
  none: () => '',
  'out-of-memory': () => 'the memory of the sandbox was used up',
  'timed-out': ({ timeoutMs }) => `it ran longer than ${timeoutMs} ms`,
  'output-too-large': ({ outputBytesMax }) => `it wrote more than ${outputBytesMax ?? outputBytesMaxDefault} bytes`,
  'could-not-start': () => 'it could not be started',
  'sandbox-gone': () => 'the sandbox is gone',
};

function couldNotStart(why: string): ExecEnd {
  const message = `it could not be started: ${why}`;
  return { exitCode: undefined, signal: undefined, cause: 'could-not-start', message };
}

function errorName(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[1] ?? `errno ${errno}`;
}

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, known]) => known === number)?.[0] ?? `signal ${number}`;
}

function invalid(message: string): DroverError {
  return new DroverError({
    code: 'EXEC_INVALID',
    advice: 'fix-input',
    message: `the program cannot be run: ${message}`,
  });
}
