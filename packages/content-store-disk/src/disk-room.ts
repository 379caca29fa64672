import { contentStoreFull } from '@drover/content-store';
import type { Clock } from '@drover/lease-kit';
import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { DiskBlobs, FoundBlob } from './disk-blobs.ts';
import { nullIfAbsent, type DiskLayout } from './disk-layout.ts';
import type { DiskPins } from './disk-pins.ts';
import { ExclusiveSection } from './exclusive-section.ts';

/**
 * Once something must go, this share of the cap is freed beyond it, so that the next writes need no scan; and after
 * writing this share, a process scans again to see what others wrote.
 */
const slackShare = 0.05;

/** What a scan of the folder found. */
export interface RoomFigures {
  readonly blobCount: number;
  readonly sizeBytes: number;
  readonly pinnedBytes: number;
  readonly uploadCount: number;
}

/**
 * Keeps the folder under its cap. Between scans it counts what this process adds; what others add is seen at the next scan,
 * which comes at the latest after a twentieth of the cap was written: each further process may pass the cap by that much.
 */
export class DiskRoom {
  readonly #layout: DiskLayout;
  readonly #clock: Clock;
  readonly #blobs: DiskBlobs;
  readonly #pins: DiskPins;
  readonly #sizeBytesMax: number;
  readonly #uploadIdleMs: number;
  readonly #section = new ExclusiveSection();
  #sizeBytes = 0;
  /** What was added since the last scan began, which may or may not have seen it. */
  #sinceScan = 0;
  readonly #liveParts: ReadonlyMap<string, number>;

  constructor(
    layout: DiskLayout,
    deps: {
      readonly clock: Clock;
      readonly blobs: DiskBlobs;
      readonly pins: DiskPins;
      /** When each part file that this process has open was last written, by wall time. */
      readonly liveParts: ReadonlyMap<string, number>;
    },
    options: { readonly sizeBytesMax: number; readonly uploadIdleMs: number },
  ) {
    this.#layout = layout;
    this.#clock = deps.clock;
    this.#blobs = deps.blobs;
    this.#pins = deps.pins;
    this.#liveParts = deps.liveParts;
    this.#sizeBytesMax = options.sizeBytesMax;
    this.#uploadIdleMs = options.uploadIdleMs;
  }

  /** Says that this process wrote (or, negative, removed) bytes. */
  count(bytes: number): void {
    this.#sizeBytes += bytes;
    this.#sinceScan += Math.max(0, bytes);
  }

  /** Sees to it that `neededBytes` more fit under the cap. Throws `CONTENT_STORE_FULL`. */
  async require(neededBytes: number): Promise<void> {
    if (this.has(neededBytes)) return;
    await this.#section.run(async () => {
      if (this.has(neededBytes)) return; // the one before us made room for us too
      await this.#free(neededBytes);
      if (this.#sizeBytes + neededBytes > this.#sizeBytesMax) {
        const why = `${this.#sizeBytes} of at most ${this.#sizeBytesMax} bytes are pinned or being uploaded`;
        throw contentStoreFull(neededBytes, why);
      }
    });
  }

  /** The device is full though the cap is not reached: removes at least `neededBytes`, if there is that much. */
  async freeOnDevice(neededBytes: number): Promise<void> {
    await this.#section.run(async () => {
      const removable: FoundBlob[] = [];
      const { sizeBytes } = await this.#measure(removable);
      await this.#removeDownTo(sizeBytes * (1 - slackShare) - neededBytes, removable);
    });
  }

  /** Removes what nobody has used for so long, and counts anew. */
  removeUnused(unusedMaxMs: number): Promise<void> {
    return this.#section.run(async () => {
      const removable: FoundBlob[] = [];
      await this.#measure(removable);
      const oldMs = this.#clock.wallMs() - unusedMaxMs;
      await this.#removeDownTo(
        0,
        removable.filter(({ usedMs }) => usedMs < oldMs),
      );
    });
  }

  /** Scans the folder, ending pins and uploads that have expired, and counts anew. */
  measure(): Promise<RoomFigures> {
    return this.#section.run(() => this.#measure());
  }

  async #measure(removable: FoundBlob[] = []): Promise<RoomFigures> {
    this.#sinceScan = 0;
    await this.#pins.removeExpired();
    const uploads = await this.removeIdleUploads();
    let blobCount = 0;
    let sizeBytes = uploads.sizeBytes;
    let pinnedBytes = 0;
    for await (const blob of this.#blobs.scan()) {
      blobCount++;
      sizeBytes += blob.sizeBytes;
      if (blob.isPinned) pinnedBytes += blob.sizeBytes;
      else removable.push(blob);
    }
    // Rather too much than too little: the next scan puts it right.
    this.#sizeBytes = sizeBytes + this.#sinceScan;
    return { blobCount, sizeBytes, pinnedBytes, uploadCount: uploads.count };
  }

  /** Removes uploads without progress, whoever began them. */
  async removeIdleUploads(): Promise<{ count: number; sizeBytes: number }> {
    let count = 0;
    let sizeBytes = 0;
    for (const entry of await readdir(this.#layout.uploads)) {
      const path = join(this.#layout.uploads, entry);
      const found = await stat(path).catch(nullIfAbsent);
      if (found === null) continue;
      if (this.#clock.wallMs() - (this.#liveParts.get(path) ?? found.mtimeMs) > this.#uploadIdleMs) {
        await rm(path, { force: true });
      } else {
        count++;
        sizeBytes += found.size;
      }
    }
    return { count, sizeBytes };
  }

  /** True if so many bytes more fit, and no scan is due. */
  has(neededBytes: number): boolean {
    return this.#sizeBytes + neededBytes <= this.#sizeBytesMax && this.#sinceScan <= this.#sizeBytesMax * slackShare;
  }

  async #free(neededBytes: number): Promise<void> {
    const removable: FoundBlob[] = [];
    await this.#measure(removable);
    if (this.#sizeBytes + neededBytes <= this.#sizeBytesMax) return;
    await this.#removeDownTo(this.#sizeBytesMax * (1 - slackShare) - neededBytes, removable);
  }

  async #removeDownTo(goalBytes: number, removable: FoundBlob[]): Promise<void> {
    removable.sort((a, b) => a.usedMs - b.usedMs);
    for (const blob of removable) {
      if (this.#sizeBytes <= goalBytes) return;
      if (await this.#blobs.remove(blob)) this.#sizeBytes -= blob.sizeBytes;
    }
  }
}
