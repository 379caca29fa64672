import {
  isDroverError,
  messageOf,
  silentLogger,
  silentMeter,
  systemClock,
  type Clock,
  type Counter,
  type Histogram,
  type Logger,
  type Meter,
  type ScheduledCall,
} from '@drover/lease-kit';
import type { PreparedImage, SandboxDriver, UnpackedImage } from '@drover/vm-runtime';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { HeldImage, ImageCatalogue, ImageUse, ImageWanted } from './image-catalogue.ts';
import { hexOfDigest } from './image-digest.ts';
import { imageFault } from './image-fault.ts';
import { defaultImageLimits, type ImageLimits } from './image-limits.ts';
import { ImageShelf } from './image-shelf.ts';
import type { ImageSource } from './image-source.ts';
import { imageArchitecture } from './oci-manifest.ts';
import { pullImage } from './pull-image.ts';
import { PullTurns } from './pull-turns.ts';

/** What a catalogue is made with. */
export interface ImageCatalogueOptions {
  /** The catalogue's own folder on a local disk; one process at a time. */
  readonly stateDir: string;
  /** All images together, those that are being built included. */
  readonly sizeBytesMax: number;
  /** An image that nobody has used for so long is removed, unless it is pinned; absent: never. */
  readonly idleMsMax?: number | undefined;
  readonly limits?: Partial<ImageLimits> | undefined;
}

/** What it works with. */
export interface ImageCatalogueDeps {
  readonly driver: SandboxDriver;
  /** Asked in this order. */
  readonly sources: readonly ImageSource[];
  /** Told before the driver removes an image: whoever keeps unused sandboxes of it stops them, e.g. `SandboxPool.retire`. */
  readonly retire?: ((digest: string) => Promise<void>) | undefined;
  /** Default: the system's. */
  readonly clock?: Clock | undefined;
  /** Default: silent. */
  readonly logger?: Logger | undefined;
  /** Default: silent. */
  readonly meter?: Meter | undefined;
}

interface Entry {
  readonly image: PreparedImage;
  readonly sizeBytes: number;
  uses: number;
  lastUsedMs: number;
  writtenMs: number;
}

/** A pull, and those that want it. */
interface Flight {
  readonly references: Set<string>;
  readonly controller: AbortController;
  readonly done: Promise<PreparedImage>;
  isOver: boolean;
  wanting: number;
}

const pinnedMax = 1_024;
const referencesMax = 16;
const timerMsMax = 2 ** 31 - 1;
/** The time of the last use goes to the disk no more often. */
const writeUseMs = 60_000;

/**
 * Opens the catalogue of a folder: what an earlier process left half done is removed, what is whole is prepared by the driver
 * again. Throws `IMAGE_CATALOGUE_IN_USE`; an abort throws the signal's reason.
 */
export async function createImageCatalogue(
  options: ImageCatalogueOptions,
  deps: ImageCatalogueDeps,
  signal: AbortSignal = new AbortController().signal,
): Promise<ImageCatalogue> {
  const shelf = new ImageShelf(options.stateDir, deps.logger ?? silentLogger);
  const catalogue = new Catalogue(options, deps, shelf);
  try {
    await catalogue.recover(signal);
    return catalogue;
  } catch (error) {
    await catalogue[Symbol.asyncDispose]();
    throw error;
  }
}

class Catalogue implements ImageCatalogue {
  readonly #options: ImageCatalogueOptions;
  readonly #limits: ImageLimits;
  readonly #deps: ImageCatalogueDeps;
  readonly #driver: SandboxDriver;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #shelf: ImageShelf;
  readonly #turns: PullTurns;
  readonly #entries = new Map<string, Entry>();
  readonly #flights = new Map<string, Flight>();
  readonly #leaving = new Map<string, Promise<boolean>>();
  readonly #closing = new AbortController();
  readonly #pulls: Counter;
  readonly #pullSeconds: Histogram;
  #pinned: readonly string[] = [];
  /** What images that are being built have written. */
  #buildingBytes = 0;
  #sweeping: ScheduledCall | undefined;

  constructor(options: ImageCatalogueOptions, deps: ImageCatalogueDeps, shelf: ImageShelf) {
    this.#options = options;
    this.#limits = { ...defaultImageLimits, ...options.limits };
    this.#deps = deps;
    this.#driver = deps.driver;
    this.#clock = deps.clock ?? systemClock;
    this.#logger = deps.logger ?? silentLogger;
    this.#shelf = shelf;
    this.#turns = new PullTurns(this.#limits.pullsMax, this.#limits.pullsWaitingMax);
    const meter = deps.meter ?? silentMeter;
    this.#pulls = meter.createCounter('drover_image_pulls_total', {
      description: 'Images that were pulled, by how that ended.',
    });
    this.#pullSeconds = meter.createHistogram('drover_image_pull_duration_seconds', {
      description: 'How long pulls took that succeeded.',
    });
    const gauge = (name: string, description: string, read: () => number): void =>
      meter.createObservableGauge(name, { description }).addCallback((observation) => observation.observe(read()));
    gauge('drover_images_held', 'Images that are ready on the disk.', () => this.#entries.size);
    gauge('drover_images_bytes', 'Bytes of all images on the disk.', () => this.#heldBytes);
  }

  async recover(signal: AbortSignal): Promise<void> {
    const { images, left } = await this.#shelf.recover(signal);
    const whole = new Set(images.map(({ image }) => image.digest));
    for (const digest of left) {
      if (!whole.has(digest)) await this.#removeFromDriver(digest);
    }
    for (const { image, lastUsedMs } of images) {
      try {
        const prepared = await this.#driver.prepareImage(image, signal);
        this.#enter(image, prepared, lastUsedMs);
      } catch (error) {
        signal.throwIfAborted();
        this.#logger.warn(
          { image: image.digest, err: error },
          `an image on the disk cannot be prepared, and goes: ${messageOf(error)}`,
        );
        await this.#shelf.remove(image.digest);
      }
    }
    await this.#makeRoom('', signal).catch((error: unknown) => {
      signal.throwIfAborted();
      this.#logger.warn({ err: error }, 'the images on the disk take more than is allowed');
    });
    this.#sweepLater();
  }

  async ensure(wanted: ImageWanted, signal: AbortSignal): Promise<PreparedImage> {
    using use = await this.use(wanted, signal);
    return use.image;
  }

  async use(wanted: ImageWanted, signal: AbortSignal): Promise<ImageUse> {
    signal.throwIfAborted();
    hexOfDigest(wanted.digest);
    for (;;) {
      if (this.#closing.signal.aborted) throw closed();
      const entry = this.#entries.get(wanted.digest);
      if (entry !== undefined) return this.#useOf(entry);
      const leaving = this.#leaving.get(wanted.digest);
      if (leaving !== undefined) await untilAborted(leaving, signal);
      // An image that came may be gone again before this is told of it: then it is had anew.
      else await this.#board(wanted, signal);
    }
  }

  held(): readonly HeldImage[] {
    const pinned = new Set(this.#pinned);
    return [...this.#entries]
      .map(([digest, { sizeBytes, lastUsedMs, uses }]) => ({
        digest,
        sizeBytes,
        lastUsedMs,
        uses,
        pinned: pinned.has(digest),
      }))
      .sort((a, b) => (a.digest < b.digest ? -1 : 1));
  }

  advertised(): readonly string[] {
    return this.#pinned;
  }

  pin(digests: readonly string[]): void {
    for (const digest of digests) hexOfDigest(digest);
    const distinct = [...new Set(digests)];
    if (distinct.length > pinnedMax)
      throw imageFault('IMAGE_CATALOGUE_FULL', `at most ${pinnedMax} images can be pinned, not ${distinct.length}`);
    this.#pinned = distinct;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort(closed());
    this.#sweeping?.cancel();
    await Promise.allSettled([...this.#flights.values()].map(({ done }) => done));
    await Promise.allSettled(this.#leaving.values());
    this.#shelf[Symbol.dispose]();
  }

  #useOf(entry: Entry): ImageUse {
    entry.uses += 1;
    this.#used(entry);
    let isReleased = false;
    const release = (): void => {
      if (isReleased) return;
      isReleased = true;
      entry.uses -= 1;
      this.#used(entry);
    };
    return { image: entry.image, release, [Symbol.dispose]: release };
  }

  #used(entry: Entry): void {
    entry.lastUsedMs = this.#clock.wallMs();
    if (this.#options.idleMsMax === undefined || Math.abs(entry.lastUsedMs - entry.writtenMs) < writeUseMs) return;
    entry.writtenMs = entry.lastUsedMs;
    try {
      this.#shelf.touch(entry.image.digest, entry.lastUsedMs);
    } catch (error) {
      this.#logger.warn({ image: entry.image.digest, err: error }, 'the last use of an image is not written down');
    }
  }

  /** Waits for the one pull of an image, which it starts if there is none; the last to leave it ends it. */
  async #board({ digest, reference }: ImageWanted, signal: AbortSignal): Promise<void> {
    let flight = this.#flights.get(digest);
    if (flight?.controller.signal.aborted === true) {
      await untilAborted(flight.done.then(nothing, nothing), signal);
      return;
    }
    if (flight === undefined) {
      const controller = new AbortController();
      const references = new Set<string>(reference === undefined ? [] : [reference]);
      const done = this.#pull(digest, references, AbortSignal.any([controller.signal, this.#closing.signal]));
      const begun: Flight = { references, controller, done, isOver: false, wanting: 0 };
      flight = begun;
      this.#flights.set(digest, begun);
      // Before anybody else is told of its end.
      const over = (): void => {
        begun.isOver = true;
        this.#flights.delete(digest);
      };
      done.then(over, over);
    } else if (reference !== undefined && flight.references.size < referencesMax) flight.references.add(reference);
    flight.wanting += 1;
    try {
      await untilAborted(flight.done, signal);
    } finally {
      flight.wanting -= 1;
      if (flight.wanting === 0 && !flight.isOver) flight.controller.abort(new Error('nobody wants the image any more'));
    }
  }

  async #pull(digest: string, references: ReadonlySet<string>, stop: AbortSignal): Promise<PreparedImage> {
    const late = new AbortController();
    const timer = this.#clock.schedule(this.#limits.pullMsMax, () =>
      late.abort(
        imageFault('IMAGE_SOURCE_UNAVAILABLE', `the image ${digest} is not here after ${this.#limits.pullMsMax} ms`),
      ),
    );
    const signal = AbortSignal.any([stop, late.signal]);
    const began = this.#clock.monotonicMs();
    try {
      using _turn = await this.#turns.take(signal);
      const image = await this.#pullByAny(digest, references, signal);
      const seconds = (this.#clock.monotonicMs() - began) / 1_000;
      this.#pulls.add(1, { result: 'ok' });
      this.#pullSeconds.record(seconds);
      this.#logger.info({ image: digest, seconds }, 'an image is ready');
      return image;
    } catch (error) {
      const result = signal.aborted && !late.signal.aborted ? 'aborted' : 'failed';
      this.#pulls.add(1, { result });
      this.#logger.warn({ image: digest, err: error }, `an image is not had: ${messageOf(error)}`);
      throw fullDisk(error) ?? error;
    } finally {
      timer.cancel();
    }
  }

  /** One caller's reference that leads nowhere is not the others' loss: each is tried, also what is named meanwhile. */
  async #pullByAny(digest: string, references: ReadonlySet<string>, signal: AbortSignal): Promise<PreparedImage> {
    const tried = new Set<string | undefined>();
    let failure: unknown;
    for (;;) {
      const reference = [...references].find((one) => !tried.has(one));
      if (tried.size > 0 && reference === undefined) throw failure;
      tried.add(reference);
      try {
        return await this.#build({ digest, reference }, signal);
      } catch (error) {
        signal.throwIfAborted();
        if (failure === undefined || isDroverError(failure, 'IMAGE_NOT_FOUND')) failure = error;
      }
    }
  }

  async #build(wanted: ImageWanted, signal: AbortSignal): Promise<PreparedImage> {
    let bytes = 0;
    const grow = async (more: number): Promise<void> => {
      // Taken before it is looked at: two pulls do not both see the last room.
      this.#buildingBytes += more;
      bytes += more;
      await this.#makeRoom(wanted.digest, signal);
    };
    const folder = this.#shelf.newFolder();
    try {
      const unpacked = await this.#unpack(wanted, folder, grow, signal);
      const image = await this.#shelf.add(unpacked, folder, signal);
      try {
        const prepared = await this.#driver.prepareImage(image, signal);
        await grow(prepared.sizeBytes);
        this.#buildingBytes -= bytes;
        bytes = 0;
        this.#enter(image, prepared, this.#clock.wallMs());
        return prepared;
      } catch (error) {
        await this.#removeFromDriver(image.digest);
        await this.#shelf.remove(image.digest);
        throw error;
      }
    } finally {
      this.#buildingBytes -= bytes;
      await this.#shelf.discard(folder);
    }
  }

  async #unpack(
    wanted: ImageWanted,
    folder: string,
    onBytes: (bytes: number) => Promise<void>,
    signal: AbortSignal,
  ): Promise<UnpackedImage> {
    if (this.#driver.imageForm === 'none') {
      // A driver that runs programs on the host itself has no use for the files.
      const root = join(folder, 'root');
      mkdirSync(root);
      return { digest: wanted.digest, folder: root, entries: [], sizeBytes: 0 };
    }
    return pullImage(
      wanted,
      folder,
      {
        sources: this.#deps.sources,
        limits: this.#limits,
        architecture: imageArchitecture,
        clock: this.#clock,
        logger: this.#logger,
        onBytes,
      },
      signal,
    );
  }

  #enter(image: UnpackedImage, prepared: PreparedImage, lastUsedMs: number): void {
    const sizeBytes = image.sizeBytes + prepared.sizeBytes;
    this.#entries.set(image.digest, { image: prepared, sizeBytes, uses: 0, lastUsedMs, writtenMs: lastUsedMs });
  }

  get #heldBytes(): number {
    let bytes = 0;
    for (const { sizeBytes } of this.#entries.values()) bytes += sizeBytes;
    return bytes;
  }

  async #removeFromDriver(digest: string): Promise<void> {
    try {
      await this.#driver.removeImage(digest, new AbortController().signal);
    } catch (error) {
      this.#logger.warn({ image: digest, err: error }, `the driver does not remove an image: ${messageOf(error)}`);
    }
  }

  /** Removes images, the longest unused first, until all is within the bound. Throws `IMAGE_CATALOGUE_FULL`. */
  async #makeRoom(digest: string, signal: AbortSignal): Promise<void> {
    const { sizeBytesMax } = this.#options;
    const kept = new Set<string>();
    while (this.#heldBytes + this.#buildingBytes > sizeBytesMax) {
      signal.throwIfAborted();
      const [oldest] = this.#removable().filter((one) => !kept.has(one));
      if (oldest === undefined) {
        throw imageFault(
          'IMAGE_CATALOGUE_FULL',
          `there is no room for the image ${digest}: ${sizeBytesMax} bytes are allowed for all images, and what is here is pinned or in use`,
        );
      }
      if (!(await this.#remove(oldest))) kept.add(oldest);
    }
  }

  /** Those that may go, the longest unused first. */
  #removable(): readonly string[] {
    const pinned = new Set(this.#pinned);
    return [...this.#entries]
      .filter(([digest, { uses }]) => uses === 0 && !pinned.has(digest))
      .sort(([, a], [, b]) => a.lastUsedMs - b.lastUsedMs)
      .map(([digest]) => digest);
  }

  /** False if a sandbox has it still: then it stays. */
  #remove(digest: string): Promise<boolean> {
    const entry = this.#entries.get(digest)!;
    // First of all: nobody gets it any more.
    this.#entries.delete(digest);
    const removed = this.#takeOut(digest)
      .catch((error: unknown) => {
        if (!isDroverError(error, 'IMAGE_IN_USE')) {
          this.#logger.error({ image: digest, err: error }, `an image is not removed: ${messageOf(error)}`);
        }
        this.#entries.set(digest, entry);
        return false;
      })
      .finally(() => this.#leaving.delete(digest));
    this.#leaving.set(digest, removed);
    return removed;
  }

  async #takeOut(digest: string): Promise<boolean> {
    await this.#deps.retire?.(digest);
    await this.#driver.removeImage(digest, new AbortController().signal);
    await this.#shelf.remove(digest);
    this.#logger.info({ image: digest }, 'an image is removed');
    return true;
  }

  #sweepLater(): void {
    const { idleMsMax } = this.#options;
    if (idleMsMax === undefined || this.#closing.signal.aborted) return;
    this.#sweeping = this.#clock.schedule(
      Math.min(Math.max(idleMsMax / 2, 1_000), timerMsMax),
      () => void this.#sweep(idleMsMax),
    );
  }

  async #sweep(idleMsMax: number): Promise<void> {
    const nowMs = this.#clock.wallMs();
    const idle = this.#removable().filter((digest) => nowMs - this.#entries.get(digest)!.lastUsedMs >= idleMsMax);
    for (const digest of idle) {
      // It may have been used while another was removed.
      const entry = this.#entries.get(digest);
      if (entry === undefined || entry.uses > 0 || this.#clock.wallMs() - entry.lastUsedMs < idleMsMax) continue;
      if (!this.#closing.signal.aborted) await this.#remove(digest);
    }
    this.#sweepLater();
  }
}

function closed(): Error {
  return imageFault('IMAGE_CATALOGUE_CLOSED', 'the catalogue of images is closed');
}

function fullDisk(error: unknown): Error | undefined {
  const { code } = error as NodeJS.ErrnoException;
  if (code !== 'ENOSPC' && code !== 'EDQUOT') return undefined;
  return imageFault('IMAGE_CATALOGUE_FULL', `the disk of the images is full: ${messageOf(error)}`, error);
}

function nothing(): void {
  // What is wanted of the promise is its end.
}

async function untilAborted<Value>(promise: Promise<Value>, signal: AbortSignal): Promise<Value> {
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  aborted.catch(nothing);
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
