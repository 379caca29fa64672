import { randomBytes } from 'node:crypto';
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdir, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { digestFromWire, forEachLimited, formatDigest, type ContentStore, type Digest } from '@drover/content-store';
import type { BeginJobSchema, FoundAgent, HerdAgentLink, HerdJobCall, LocalFile } from '@drover/herd-protocol';
import { DroverError, isDroverError } from '@drover/lease-kit';
import type { BlobDigest } from '@drover/lease-protocol';
import type { AgentConnection } from './agent-connection.ts';
import { DroverJobCall } from './drover-job-call.ts';
import { sendLargeFile } from './send-large-file.ts';
import type { SmallFiles } from './small-files.ts';

/** What a link is made of. */
export interface DroverAgentLinkDeps {
  /** Closed with the link. */
  readonly connection: AgentConnection;
  readonly content: ContentStore;
  /** Shared with other links. */
  readonly smallFiles: SmallFiles;
  readonly onClosed?: (() => void) | undefined;
  readonly lostAfterMs?: number | undefined;
}

/** Large files under way at once, each a stream. */
const largeFilesAtOnce = 4;
/** Small files under way at once: they share calls, which are the fewer the more there are to share. */
const smallFilesAtOnce = 256;
const readChunkSizeBytes = 1024 * 1024;
/** Up to this size files share calls. */
const smallSizeBytesMax = 64 * 1024;

/** A connection to one of Drover's agents. */
export class DroverAgentLink implements HerdAgentLink {
  readonly agent: FoundAgent;
  readonly #deps: DroverAgentLinkDeps;
  readonly #closed = new AbortController();
  /** What is there already or on its way, so that jobs and tasks that share a file send it once. */
  readonly #sent = new Map<string, Promise<void>>();

  constructor(agent: FoundAgent, deps: DroverAgentLinkDeps) {
    this.agent = agent;
    this.#deps = deps;
  }

  async send(files: readonly LocalFile[], signal: AbortSignal): Promise<{ readonly sentBytes: number }> {
    const { content } = this.#deps;
    const wanted = new Map<string, { readonly digest: Digest; readonly file: LocalFile }>();
    const waiting: Promise<void>[] = [];
    for (const file of files) {
      const digest = digestFromWire(file.digest);
      const key = formatDigest(digest);
      const before = this.#sent.get(key);
      if (before === undefined) wanted.set(key, { digest, file });
      else waiting.push(before);
    }
    let sentBytes = 0;
    const missing = new Set(
      (
        await content.findMissing(
          Array.from(wanted.values(), ({ digest }) => digest),
          { signal },
        )
      ).map(formatDigest),
    );
    const toSend = [...wanted].filter(([key]) => missing.has(key));
    const send = async ([key, { digest, file }]: (typeof toSend)[number]): Promise<void> => {
      const sent = this.#sendOne(digest, file, signal);
      this.#sent.set(key, sent);
      // Whoever waits for it hears of it; otherwise nobody has to.
      sent.catch(() => this.#sent.delete(key));
      await sent;
      sentBytes += digest.sizeBytes;
    };
    const isSmall = ([, { digest }]: (typeof toSend)[number]): boolean => digest.sizeBytes <= smallSizeBytesMax;
    await Promise.all([
      forEachLimited(toSend.filter(isSmall), smallFilesAtOnce, send),
      forEachLimited(
        toSend.filter((one) => !isSmall(one)),
        largeFilesAtOnce,
        send,
      ),
      ...waiting,
    ]);
    return { sentBytes };
  }

  async #sendOne(digest: Digest, file: LocalFile, signal: AbortSignal): Promise<void> {
    try {
      const { connection, content, smallFiles } = this.#deps;
      if (digest.sizeBytes <= smallSizeBytesMax) {
        await content.write(digest, await smallFiles.read(file.source, digest), { signal });
        return;
      }
      if (await sendLargeFile(connection, digest, file, signal)) return;
      const from = (start: number): Readable =>
        createReadStream(file.source, { start, highWaterMark: readChunkSizeBytes });
      await content.write(digest, from, { signal });
    } catch (error) {
      if (!isDroverError(error, 'DIGEST_MISMATCH')) throw error;
      throw new DroverError({
        code: 'INPUT_CHANGED',
        advice: 'conflict',
        message: `${file.source} changed while it was sent; run the job again when it rests`,
        cause: error,
      });
    }
  }

  async begin(job: MessageInitShape<typeof BeginJobSchema>, signal: AbortSignal): Promise<HerdJobCall> {
    const { connection, lostAfterMs } = this.#deps;
    const call = new DroverJobCall(job, { agent: this.agent, connection, signal: this.#closed.signal, lostAfterMs });
    try {
      await call.open(signal);
    } catch (error) {
      // Evicted since it was sent: whoever sends again is to ask again.
      if (isDroverError(error, 'BLOB_NOT_FOUND')) this.#sent.clear();
      throw error;
    }
    return call;
  }

  async receive(digest: BlobDigest, target: string, signal: AbortSignal): Promise<void> {
    await mkdir(dirname(target), { recursive: true });
    const name = `.${basename(target).slice(0, 100)}.${randomBytes(6).toString('hex')}.part`;
    const temporary = join(dirname(target), name);
    try {
      const bytes = this.#deps.content.read(digestFromWire(digest), { signal });
      await pipeline(Readable.from(bytes), createWriteStream(temporary, { flags: 'wx' }), { signal });
      await rename(temporary, target);
    } catch (error) {
      await rm(temporary, { force: true });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort(new DOMException('The link was closed.', 'AbortError'));
    this.#deps.connection[Symbol.dispose]();
    this.#deps.onClosed?.();
  }
}
