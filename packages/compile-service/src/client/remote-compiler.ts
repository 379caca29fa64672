import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';
import { zstdCompress, zstdDecompress } from 'node:zlib';
import { create } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import { CompileSchema, CompileService, type CompileResult } from '@drover/compile-protocol';
import { DroverError } from '@drover/lease-kit';
import { blake3Of } from '../blake3.ts';
import type { CompilePlaces, CompileRoom } from './compile-places.ts';
import { createPinnedTransport, type PinnedTransport } from './pinned-transport.ts';

/** A compile's second step. */
export interface RemoteCompile {
  /** The compiler's name, then its arguments. */
  readonly arguments: readonly string[];
  readonly source: Uint8Array;
  /** Below /src. */
  readonly entryPath: string;
  /** Below /out. */
  readonly outputName: string;
}

/** How compiles are sent. */
export interface RemoteCompilerOptions {
  /** `sha256:…`. */
  readonly imageDigest: string;
  readonly imageReference?: string | undefined;
  /** Of one attempt. Default 60 s. */
  readonly timeoutMs?: number;
}

/** Who says where to. */
export interface RemoteCompilerDeps {
  readonly places: CompilePlaces;
}

/** What came of it: the object, or that the compiler had something to say, which is then asked here. */
export type RemoteOutcome =
  | { readonly kind: 'object'; readonly content: Uint8Array; readonly workerId: string }
  | { readonly kind: 'said-something' };

const compress = promisify(zstdCompress);
const decompress = promisify(zstdDecompress);
const connectionsMax = 64;
const objectSizeBytesMax = 256 * 1024 * 1024;

/** Compiles on workers: on one, and where that fails on another one, once. */
export class RemoteCompiler implements Disposable {
  readonly #options: RemoteCompilerOptions;
  readonly #deps: RemoteCompilerDeps;
  readonly #connections = new Map<string, Promise<PinnedTransport>>();

  readonly #ended = new AbortController();

  constructor(options: RemoteCompilerOptions, deps: RemoteCompilerDeps) {
    this.#options = options;
    this.#deps = deps;
  }

  /** Throws what the second attempt threw, or the first where there is no other worker; an abort ends it. */
  async compile(compile: RemoteCompile, signal: AbortSignal): Promise<RemoteOutcome> {
    const { places } = this.#deps;
    const content = await compress(compile.source);
    const first = await places.take([], signal);
    try {
      return await this.#compileIn(first, compile, content, signal);
    } catch (error) {
      if (signal.aborted) throw error;
      places.forget(first.workerId);
      const second = await places.take([first.workerId], signal).catch(() => undefined);
      if (second === undefined) throw error;
      return this.#compileIn(second, compile, content, signal);
    }
  }

  [Symbol.dispose](): void {
    this.#ended.abort();
    for (const key of this.#connections.keys()) this.#close(key);
  }

  async #compileIn(
    room: CompileRoom,
    { arguments: words, source, entryPath, outputName }: RemoteCompile,
    content: Uint8Array,
    signal: AbortSignal,
  ): Promise<RemoteOutcome> {
    const { imageDigest, imageReference = '', timeoutMs = 60_000 } = this.#options;
    const compile = create(CompileSchema, {
      compileId: randomUUID(),
      imageDigest,
      imageReference,
      arguments: [...words],
      workingFolder: '/src',
      environment: { LC_ALL: 'C', PATH: '/usr/local/bin:/usr/bin:/bin' },
      outputs: [outputName],
      source: {
        case: 'preprocessed',
        value: { content, digest: blake3Of(source), sizeBytes: BigInt(source.length), path: entryPath },
      },
    });
    const client = createClient(CompileService, (await this.#connectionTo(room)).transport);
    const headers = { authorization: `Bearer ${room.token}` };
    const { result } = await client.compile({ compile }, { signal, timeoutMs, headers });
    if (result === undefined) throw wrongAnswer(room, 'no result');
    const isSilent = result.exitCode === 0 && result.signal === '' && result.stdout.length + result.stderr.length === 0;
    if (!isSilent) return { kind: 'said-something' };
    return { kind: 'object', content: await objectOf(result, outputName, room), workerId: room.workerId };
  }

  #connectionTo(room: CompileRoom): Promise<PinnedTransport> {
    const key = `${room.address} ${Buffer.from(room.certificateSha256).toString('hex')}`;
    const kept = this.#connections.get(key);
    if (kept !== undefined) return kept;
    const [oldest] = this.#connections.keys();
    if (this.#connections.size >= connectionsMax && oldest !== undefined) this.#close(oldest);
    // Others wait for it too, so that it does not end with the one compile that came first.
    const opened = createPinnedTransport(room.address, room.certificateSha256, this.#ended.signal);
    this.#connections.set(key, opened);
    opened.catch(() => this.#connections.delete(key));
    return opened;
  }

  #close(key: string): void {
    this.#connections.get(key)?.then(
      (connection) => connection[Symbol.dispose](),
      () => {},
    );
    this.#connections.delete(key);
  }
}

/** Nothing is written that is not what its digest says. */
async function objectOf(result: CompileResult, name: string, room: CompileRoom): Promise<Uint8Array> {
  const output = result.outputs.find(({ path }) => path === name);
  if (output === undefined) throw wrongAnswer(room, `no output ${name}`);
  const size = Number(output.sizeBytes);
  if (size > objectSizeBytesMax) throw wrongAnswer(room, `an output of ${size} bytes`);
  const content = await decompress(output.content, { maxOutputLength: Math.max(size, 1) }).catch(() => undefined);
  if (content?.length !== size || Buffer.compare(blake3Of(content), output.digest) !== 0) {
    throw wrongAnswer(room, 'an output that its digest does not fit');
  }
  return content;
}

function wrongAnswer(room: CompileRoom, what: string): DroverError {
  return new DroverError({
    code: 'WORKER_ANSWER_INVALID',
    advice: 'unavailable',
    message: `The worker ${room.workerId} answered ${what}`,
  });
}
