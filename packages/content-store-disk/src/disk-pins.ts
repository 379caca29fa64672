import { pinExpiryDefaultMs, pinLimit, type Digest, type PinOptions } from '@drover/content-store';
import type { Clock } from '@drover/lease-kit';
import { linkSync } from 'node:fs';
import { mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { blobName, errorCode, nullIfAbsent, type DiskLayout } from './disk-layout.ts';
import { ExclusiveSection } from './exclusive-section.ts';
import { Turns } from './turns.ts';

/** A folder of pins without a readable `pin.json` was left by a crash once it is this old. */
const unfinishedMs = 10 * 60 * 1000;

/**
 * Pins as hard links: a pinned blob has more than one link, so whether it may be removed can be seen on the blob itself,
 * by every process, with nothing that could disagree with it.
 */
export class DiskPins {
  readonly #layout: DiskLayout;
  readonly #clock: Clock;
  readonly #ownersMax: number;
  readonly #section = new ExclusiveSection();
  readonly #turns = new Turns();

  constructor(layout: DiskLayout, clock: Clock, ownersMax: number) {
    this.#layout = layout;
    this.#clock = clock;
    this.#ownersMax = ownersMax;
  }

  /** Pins what is there and returns the others. `isThere` waits out a removal that may put a blob back. */
  pin(
    digests: readonly Digest[],
    options: PinOptions,
    isThere: (digest: Digest) => Promise<boolean>,
  ): Promise<Digest[]> {
    return this.#section.run(async () => {
      const folder = this.#layout.pinFolder(options.owner);
      if ((await stat(folder).catch(nullIfAbsent)) === null) {
        await this.#refuseTooManyOwners();
        await mkdir(folder, { recursive: true });
      }
      const expiresAtMs = this.#clock.wallMs() + (options.expiresAfterMs ?? pinExpiryDefaultMs);
      await writeWhole(this.#layout, join(folder, 'pin.json'), JSON.stringify({ owner: options.owner, expiresAtMs }));
      const missing: Digest[] = [];
      for (const digest of digests) {
        options.signal?.throwIfAborted();
        if (!(await this.#pinOne(digest, folder, isThere))) missing.push(digest);
        await this.#turns.give();
      }
      await this.#layout.syncFolder(folder);
      await this.#layout.syncFolder(this.#layout.pins);
      return missing;
    });
  }

  /** Ends an owner's pins. */
  unpin(owner: string): Promise<void> {
    return this.#section.run(() => this.#removeFolder(this.#layout.pinFolder(owner)));
  }

  /** Ends pins that have expired, and what a crash left of others. */
  removeExpired(): Promise<void> {
    return this.#section.run(() => this.#removeExpired());
  }

  async #removeExpired(): Promise<void> {
    const now = this.#clock.wallMs();
    for (const entry of await readdir(this.#layout.pins)) {
      const folder = join(this.#layout.pins, entry);
      const expiresAtMs = await readExpiry(join(folder, 'pin.json'));
      const ended =
        expiresAtMs === null
          ? now - ((await stat(folder).catch(nullIfAbsent))?.mtimeMs ?? now) > unfinishedMs
          : expiresAtMs <= now;
      if (ended) await this.#removeFolder(folder);
    }
  }

  async #refuseTooManyOwners(): Promise<void> {
    if ((await readdir(this.#layout.pins)).length < this.#ownersMax) return;
    await this.#removeExpired();
    if ((await readdir(this.#layout.pins)).length >= this.#ownersMax) throw pinLimit(this.#ownersMax);
  }

  async #pinOne(digest: Digest, folder: string, isThere: (digest: Digest) => Promise<boolean>): Promise<boolean> {
    const place = this.#layout.blob(digest);
    const pinned = join(folder, blobName(digest));
    for (let attempt = 0; attempt < 3; attempt++) {
      if (linkNow(place, pinned) !== 'ENOENT') {
        // A removal may have taken the blob's own name in between; it will see the pin and put it back, as we do.
        if (linkNow(pinned, place) === 'ENOENT') throw new Error(`${pinned} was removed while it was made`);
        return true;
      }
      if (!(await isThere(digest))) return false;
    }
    return false;
  }

  async #removeFolder(folder: string): Promise<void> {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Links, or says why not; throws any other failure. Here and now: by another thread it would cost many times as much. */
function linkNow(existing: string, path: string): 'linked' | 'EEXIST' | 'ENOENT' {
  try {
    linkSync(existing, path);
    return 'linked';
  } catch (error) {
    const code = errorCode(error);
    if (code === 'EEXIST' || code === 'ENOENT') return code;
    throw error;
  }
}

async function readExpiry(file: string): Promise<number | null> {
  const text = await readFile(file, 'utf8').catch(nullIfAbsent);
  if (text === null) return null;
  try {
    const { expiresAtMs } = JSON.parse(text) as { expiresAtMs?: unknown };
    return typeof expiresAtMs === 'number' ? expiresAtMs : null;
  } catch {
    return null;
  }
}

async function writeWhole(layout: DiskLayout, file: string, text: string): Promise<void> {
  const temporary = `${file}.new`;
  const handle = await open(temporary, 'w');
  try {
    await handle.writeFile(text);
    await layout.syncFile(handle);
  } finally {
    await handle.close();
  }
  await rename(temporary, file);
}
